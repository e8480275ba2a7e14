#!/usr/bin/env python3
"""Kills servers while they learn and summarize, then counts what became of the work; writes benches/chaos/JOBS.md.

    benches/chaos/jobs.py                      2,000 requests on the release build, about a minute
    benches/chaos/jobs.py --requests 200       a trial; writes no file unless --out

As run.py, with the offline model, which learns and summarizes by rule: each request tells a fact of its own, so that
afterwards each completed run has to have left one memory, and every session one chain of summaries.
"""

import argparse
import itertools
import pathlib
import sys
import tempfile
import threading
import time

import run as chaos
from run import BenchError, Processes, Servers, free_port, run_checked, say, start_postgres, wait_until_ready

HIGH, LOW = 400, 100

CONFIG = f"""\
[runs]
lease = "{{lease}}"

[models.offline]
provider = "offline"
id = "offline"

[[agents]]
id = "assistant"
model = "offline"
update_memory_on_run = true
enable_session_summaries = true
history = {{{{ high_tokens = {HIGH}, low_tokens = {LOW} }}}}
"""

# A job that another took the place of while its process died is no work any more.
LEFT = "from graphile_worker._private_jobs j where not exists (select from graphile_worker._private_job_retirements r where r.id = j.id)"
PENDING = f"(select count(*) {LEFT} and attempts < max_attempts) + (select count(*) from memory_turns)"
# What must be zero, by what it would mean.
FAULTS = {
    "runs without an end": f"select count(*) from runs where {chaos.UNFINISHED}",
    "jobs that are left or were given up": f"select count(*) {LEFT}",
    "completed runs that were never read for memories": "select count(*) from memory_turns",
    "completed runs whose fact is not in exactly one memory": "select count(*) from runs r join sessions s using (session_id) where r.status = 'COMPLETED' and 1 <> (select count(*) from memories m where m.user_id = s.user_id and m.memory like '%' || (r.metadata ->> 'attempt') || '%')",
    "memories that were added twice or never": "select count(*) from memories m where 1 <> (select count(*) from memory_events e where e.user_id = m.user_id and e.memory_id = m.memory_id and e.action = 'add')",
    "memories without the run that they are from": "select count(*) from memories m where not exists (select from memory_sources s where s.user_id = m.user_id and s.memory_id = m.memory_id)",
    "sessions whose fold did not happen": f"select count(*) from sessions where unfolded_tokens > {HIGH}",
    "sessions whose summaries skip a run or count one twice": "select count(*) from sessions s where (select count(*) from runs r where r.session_id = s.session_id and r.seq <= s.summary_through and r.status = 'COMPLETED') <> (select coalesce(sum(folded_runs), 0) from summaries u where u.session_id = s.session_id)",
}


class Clients(chaos.Clients):
    def __init__(self, servers, options):
        super().__init__(servers, options)
        self.ports = itertools.cycle(servers.ports)

    def ask(self, number, attempt):
        session = number % self.options.sessions
        body = {
            "message": f"I like w{number}a{attempt}b.",
            "session_id": f"session-{session}",
            "user_id": f"user-{session % (self.options.sessions // 2)}",
            "metadata": {"attempt": f"w{number}a{attempt}b"},
            "stream": False,
            "background": number % 4 == 0,
        }
        try:
            status, _ = chaos.post(next(self.ports), "/agents/assistant/runs", body)
        except (OSError, chaos.http.client.HTTPException):
            return self.note("connection broke", False)
        return self.note("answered" if status in (200, 202) else f"answered with {status}", status in (200, 202))


def wait_for_the_work(ask_database):
    """Seconds until nothing was left to do, at most two minutes."""
    started = time.monotonic()
    while time.monotonic() - started < 120:
        unfinished = int(ask_database(f"select count(*) from runs where {chaos.UNFINISHED}"))
        if unfinished + int(ask_database(f"select {PENDING}")) == 0:
            break
        time.sleep(0.5)
    return time.monotonic() - started


def run(options, processes):
    postgres = start_postgres(processes, free_port())
    database_url = postgres.create_database("colloquy")

    def ask_database(statement):
        return run_checked([postgres.bin_dir / "psql", "-qXtA", "-d", database_url, "-c", statement]).strip()

    config = processes.work_dir / "colloquy.toml"
    config.write_text(CONFIG.format(lease=options.lease))
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
        thread.join()
    requests_took = time.monotonic() - started
    say(f"Asked in {requests_took:.0f} s. The killing goes on while the rest is worked off.")
    while servers.kills < options.kills:
        time.sleep(0.1)
    servers.over.set()
    killer.join()
    rest = wait_for_the_work(ask_database)
    counts = {
        what: int(ask_database(f"select count(*) from {what}")) for what in ("memories", "summaries")
    }
    by_status = ask_database("select status || ': ' || count(*) from runs group by status order by 1").replace("\n", ", ")
    faults = {name: int(ask_database(statement)) for name, statement in FAULTS.items()}
    return report(options, clients, servers, requests_took, rest, counts, by_status, faults)


def report(options, clients, servers, took, rest, counts, by_status, faults):
    outcomes = ", ".join(f"{name}: {count:,}" for name, count in sorted(clients.outcomes.items()))
    rows = "\n".join(f"| {name} | {count} |" for name, count in faults.items())
    verdict = "Nothing was lost or done twice." if not any(faults.values()) else "**Something was lost or done twice.**"
    return f"""\
# Chaos in the background

Measured on {time.strftime('%Y-%m-%d')} with `benches/chaos/jobs.py`: {options.requests:,} requests on {options.sessions} sessions
of {options.sessions // 2} users at {options.connections} connections over two servers on one PostgreSQL, of which one was killed
(SIGKILL) and started again every two seconds: {servers.kills} times. The offline model learns from every run and folds sessions.

The requests took {took:.0f} s, what was left in the background {rest:.0f} s after the last kill.
Tries: {outcomes}. Runs by status: {by_status}. Memories: {counts['memories']:,}, summaries: {counts['summaries']:,}.

| what must not be | how often it was |
| --- | --- |
{rows}

{verdict}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--kills", type=int, default=20, help="at least so many")
    parser.add_argument("--lease", default="2s")
    parser.add_argument("--binary", type=pathlib.Path, default=chaos.ROOT / "target" / "release" / "colloquy")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="colloquy-chaos-") as work_dir:
        processes = Processes(pathlib.Path(work_dir))
        try:
            text = run(options, processes)
        except BenchError as error:
            sys.exit(f"{error}")
        finally:
            processes.stop_all()
    out = options.out or (chaos.HERE / "JOBS.md" if options.requests >= 2_000 else None)
    if out:
        out.write_text(text)
    print(text)
    sys.exit("**" in text)


if __name__ == "__main__":
    main()
