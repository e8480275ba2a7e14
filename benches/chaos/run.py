#!/usr/bin/env python3
"""Kills servers under load, then counts what became of every run; writes benches/chaos/RESULTS.md.

    benches/chaos/run.py                       10,000 requests on the release build, some minutes
    benches/chaos/run.py --requests 500        a trial

Two servers on one PostgreSQL; every two seconds one of them is killed (SIGKILL) and started again. Clients ask for JSON,
streams and background runs, and ask anew when a connection breaks. Build first: cargo build --release --bins --examples.
Needs Linux and PostgreSQL's server binaries; Python's standard library is enough.
"""

import argparse
import collections
import http.client
import itertools
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "load"))

from machine import BenchError, Processes, free_port, run_checked, say, start_postgres, wait_until_ready  # noqa: E402

CONFIG = """\
[runs]
lease = "{lease}"

[models.fast]
provider = "openai"
id = "m"
base_url = "{model_url}/v1"
api_key_env = "CHAOS_BENCH_API_KEY"

[[agents]]
id = "assistant"
model = "fast"
"""

UNFINISHED = "status in ('PENDING', 'RUNNING', 'PAUSED')"
# What must be zero, by what it would mean.
FAULTS = {
    "runs without an end": f"select count(*) from runs where {UNFINISHED}",
    "sessions with a gap in their numbers": "select count(*) from (select from runs group by session_id having min(seq) <> 1 or max(seq) <> count(*)) gaps",
    "sessions that are not free": "select count(*) from sessions where active_seq is not null or cardinality(waiting) > 0",
    "rows left in the queue": "select count(*) from run_queue",
    "completed runs whose state change is missing": "select count(*) from runs r join sessions s using (session_id) where r.status = 'COMPLETED' and not s.session_state ? (r.metadata ->> 'attempt')",
    "state changes of no completed run": "select count(*) from sessions s, jsonb_object_keys(s.session_state) key where not exists (select from runs r where r.session_id = s.session_id and r.status = 'COMPLETED' and r.metadata ->> 'attempt' = key)",
    "completed runs without exactly one answer": "select count(*) from runs r where status = 'COMPLETED' and 1 <> (select count(*) from messages m where m.session_id = r.session_id and m.seq = r.seq and m.role = 'assistant')",
    "runs executed twice for one request": "select count(*) - count(distinct metadata ->> 'attempt') from runs",
}


class Servers:
    """The two servers, one of which is always about to die."""

    def __init__(self, processes, binary, config, database_url):
        self.processes, self.binary, self.config, self.database_url = processes, binary, config, database_url
        self.ports = [free_port(), free_port()]
        self.running = [self.start(number) for number in range(2)]
        self.kills = 0
        self.over = threading.Event()

    def start(self, number):
        command = [self.binary, "serve", "--config", self.config, "--bind", f"127.0.0.1:{self.ports[number]}"]
        env = {"DATABASE_URL": self.database_url, "CHAOS_BENCH_API_KEY": "unused", "RUST_LOG": "error"}
        return self.processes.start(f"server-{number}", command, env=env)

    def kill_in_turn(self, interval):
        for number in itertools.cycle(range(2)):
            if self.over.wait(interval):
                return
            self.running[number].send_signal(signal.SIGKILL)
            self.running[number].wait()
            self.running[number] = self.start(number)
            self.kills += 1


class Clients:
    """Ask until every request has an answer; each try is a run of its own, with a state change of its own."""

    def __init__(self, servers, options):
        self.servers, self.options = servers, options
        self.numbers = iter(range(options.requests))
        self.lock = threading.Lock()
        self.answered, self.outcomes = [], collections.Counter()

    def work(self):
        while True:
            with self.lock:
                number = next(self.numbers, None)
            if number is None:
                return
            for attempt in range(200):
                if self.ask(number, attempt):
                    break

    def ask(self, number, attempt):
        kind = ("background", "stream", "json", "json")[number % 4]
        body = {
            "message": f"number {number}",
            "session_id": f"session-{number % self.options.sessions}",
            "session_state": {f"{number}.{attempt}": 1},
            "metadata": {"attempt": f"{number}.{attempt}"},
            "stream": kind == "stream",
            "background": kind == "background",
        }
        try:
            status, text = post(random.choice(self.servers.ports), "/agents/assistant/runs", body)
        except (OSError, http.client.HTTPException):
            return self.note("connection broke", False)
        if kind == "stream" and status == 200:
            last = text.rstrip().rpartition("data: ")[2]
            if '"event":"RunCompleted"' not in last:
                return self.note("stream broke", False)
            return self.note("answered", True, json.loads(last)["run_id"])
        if status in (200, 202):
            return self.note("answered", True, json.loads(text)["run_id"])
        return self.note(f"answered with {status}", False)

    def note(self, outcome, is_done, run_id=None):
        with self.lock:
            self.outcomes[outcome] += 1
            if run_id:
                self.answered.append(run_id)
        if not is_done:
            time.sleep(0.1)
        return is_done


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def run(options, processes):
    postgres = start_postgres(processes, free_port())
    database_url = postgres.create_database("colloquy")

    def ask_database(statement):
        psql = [postgres.bin_dir / "psql", "-qXtA", "-d", database_url, "-c", statement]
        return run_checked(psql).strip()

    model_port = free_port()
    model = processes.start(
        "model", [options.model_server, "--bind", f"127.0.0.1:{model_port}", "--delay-ms", options.delay_ms]
    )
    wait_until_ready(model, f"http://127.0.0.1:{model_port}/stats")
    config = processes.work_dir / "colloquy.toml"
    config.write_text(CONFIG.format(lease=options.lease, model_url=f"http://127.0.0.1:{model_port}"))
    servers = Servers(processes, options.binary, config, database_url)
    for server, port in zip(servers.running, servers.ports):
        wait_until_ready(server, f"http://127.0.0.1:{port}/ready")

    clients = Clients(servers, options)
    threads = [threading.Thread(target=clients.work, daemon=True) for _ in range(options.connections)]
    killer = threading.Thread(target=servers.kill_in_turn, args=[2], daemon=True)
    started = time.monotonic()
    for thread in (killer, *threads):
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(10)
            say(f"{sum(clients.outcomes.values())} tries, {servers.kills} kills, {time.monotonic() - started:.0f} s")
    took = time.monotonic() - started
    servers.over.set()
    killer.join()
    settled = wait_for_the_end(ask_database)
    by_status = ask_database("select status || ': ' || count(*) from runs group by status order by 1").replace("\n", ", ")
    faults = {name: int(ask_database(statement)) for name, statement in FAULTS.items()}
    ids = ",".join(f"'{run_id}'" for run_id in clients.answered)
    lost = f"select count(*) from unnest(array[{ids}]::uuid[]) id where not exists (select from runs where run_id = id)"
    file = processes.work_dir / "answered.sql"
    file.write_text(lost)
    faults["runs that a client was told of and that are not there"] = int(
        run_checked([postgres.bin_dir / "psql", "-qXtA", "-d", database_url, "-f", file])
    )
    return report(options, clients, servers, took, settled, by_status, faults)


def wait_for_the_end(ask_database):
    """Seconds until no run was unfinished any more, at most a minute and a half."""
    started = time.monotonic()
    while time.monotonic() - started < 90:
        if ask_database(f"select count(*) from runs where {UNFINISHED}") == "0":
            break
        time.sleep(0.5)
    return time.monotonic() - started


def report(options, clients, servers, took, settled, by_status, faults):
    outcomes = ", ".join(f"{name}: {count:,}" for name, count in sorted(clients.outcomes.items()))
    rows = "\n".join(f"| {name} | {count} |" for name, count in faults.items())
    verdict = "Nothing was lost." if not any(faults.values()) else "**Something was lost.**"
    return f"""\
# Chaos

Measured on {time.strftime('%Y-%m-%d')} with `benches/chaos/run.py`: {options.requests:,} requests on {options.sessions} sessions
at {options.connections} connections over two servers on one PostgreSQL, of which one was killed (SIGKILL) and started again
every two seconds: {servers.kills} times in {took:.0f} s. A quarter of the requests are background runs, a quarter streams.
A model answers after {options.delay_ms} ms; the lease is {options.lease}. A client whose connection breaks asks anew.

Tries: {outcomes}. Runs by status: {by_status}. The last run had ended {settled:.0f} s after the last answer.

| what must not be | how often it was |
| --- | --- |
{rows}

{verdict}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--delay-ms", type=int, default=20, help="how long the model thinks")
    parser.add_argument("--lease", default="2s")
    parser.add_argument("--binary", type=pathlib.Path, default=target / "colloquy")
    parser.add_argument("--model-server", type=pathlib.Path, default=target / "examples" / "load_model_server")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="colloquy-chaos-") as work_dir:
        processes = Processes(pathlib.Path(work_dir))
        try:
            text = run(options, processes)
        except BenchError as error:
            sys.exit(f"{error}")
        finally:
            processes.stop_all()
    options.out.write_text(text)
    print(text)
    sys.exit("**" in text)


if __name__ == "__main__":
    main()
