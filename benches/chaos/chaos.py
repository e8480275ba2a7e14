"""Two servers of which one is always about to die, and clients that do not give up."""

import collections
import http.client
import itertools
import json
import pathlib
import signal
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "load"))

from machine import bench_options, free_port, run_bench, run_checked, say, start_postgres, wait_until_ready  # noqa: E402

SECONDS_BETWEEN_KILLS = 2
UNFINISHED = "status in ('PENDING', 'RUNNING', 'PAUSED')"


class Servers:
    """The two servers on one PostgreSQL."""

    def __init__(self, options, processes, settings):
        self.processes, self.binary = processes, options.binary
        self.config = processes.work_dir / "colloquy.toml"
        self.config.write_text(f'{settings}\n[runs]\nlease = "{options.lease}"\n')
        postgres = start_postgres(processes, free_port())
        self.psql, self.database_url = postgres.bin_dir / "psql", postgres.create_database("colloquy")
        self.ports = [free_port(), free_port()]
        self.running = [self.start(number) for number in range(2)]
        for server, port in zip(self.running, self.ports):
            wait_until_ready(server, f"http://127.0.0.1:{port}/ready")
        self.kills = 0
        self.over = threading.Event()

    def start(self, number):
        command = [self.binary, "serve", "--config", self.config, "--bind", f"127.0.0.1:{self.ports[number]}"]
        env = {"DATABASE_URL": self.database_url, "CHAOS_BENCH_API_KEY": "unused", "RUST_LOG": "error"}
        return self.processes.start(f"server-{number}", command, env=env)

    def kill_in_turn(self):
        for number in itertools.cycle(range(2)):
            if self.over.wait(SECONDS_BETWEEN_KILLS):
                return
            self.running[number].send_signal(signal.SIGKILL)
            self.running[number].wait()
            self.running[number] = self.start(number)
            self.kills += 1

    def ask_database(self, statement):
        # By a file, because the ids of all runs are too long for a command line.
        file = self.processes.work_dir / "statement.sql"
        file.write_text(statement)
        return run_checked([self.psql, "-qXtA", "-d", self.database_url, "-f", file]).strip()

    def count(self, faults):
        return {what: int(self.ask_database(statement)) for what, statement in faults.items()}

    def wait_until_none(self, count, patience):
        """Seconds until this counts nothing any more, or until patience has ended."""
        started = time.monotonic()
        while time.monotonic() - started < patience and int(self.ask_database(f"select {count}")):
            time.sleep(0.5)
        return time.monotonic() - started

    def runs_by_status(self):
        statement = "select status || ': ' || count(*) from runs group by status order by 1"
        return self.ask_database(statement).replace("\n", ", ")


class Clients:
    """Ask until every request has an answer; each try is a run of its own."""

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
        """One try, and whether it was answered."""
        raise NotImplementedError

    def note(self, outcome, is_done, run_id=None):
        with self.lock:
            self.outcomes[outcome] += 1
            if run_id:
                self.answered.append(run_id)
        if not is_done:
            time.sleep(0.1)
        return is_done

    def tries(self):
        return ", ".join(f"{name}: {count:,}" for name, count in sorted(self.outcomes.items()))


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def ask_under_fire(servers, clients, least_kills=0):
    """Seconds that the requests took; the killing goes on until there were so many kills."""
    threads = [threading.Thread(target=clients.work, daemon=True) for _ in range(clients.options.connections)]
    killer = threading.Thread(target=servers.kill_in_turn, daemon=True)
    started = time.monotonic()
    for thread in (killer, *threads):
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(10)
            say(f"{sum(clients.outcomes.values())} tries, {servers.kills} kills, {time.monotonic() - started:.0f} s")
    took = time.monotonic() - started
    while servers.kills < least_kills:
        time.sleep(0.1)
    servers.over.set()
    killer.join()
    return took


def table(faults):
    rows = "\n".join(f"| {what} | {count} |" for what, count in faults.items())
    return f"| what must not be | how often it was |\n| --- | --- |\n{rows}"


def main(description, run, full, connections, results, add_options):
    """Runs a bench of chaos; ends with 1 if there is a fault, which the report sets in bold."""
    parser = bench_options(description)
    parser.add_argument("--requests", type=int, default=full)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--connections", type=int, default=connections)
    parser.add_argument("--lease", default="2s")
    add_options(parser)
    options = parser.parse_args()
    text = run_bench("chaos", run, options, HERE / results if options.requests >= full else None)
    sys.exit("**" in text)
