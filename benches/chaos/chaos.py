"""Two servers that something happens to, and clients that do not give up."""

import collections
import http.client
import itertools
import json
import pathlib
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "load"))

import faults  # noqa: E402
from machine import BenchError, bench_options, child_env, free_port, run_bench, say, start_postgres, wait_until_ready  # noqa: E402



class Servers:
    """The two servers on one PostgreSQL."""

    def __init__(self, options, processes, settings, fault=faults.KILLS):
        self.processes, self.binary, self.fault = processes, options.binary, fault
        self.lease = float(options.lease.removesuffix("s"))
        self.config = processes.work_dir / "colloquy.toml"
        self.config.write_text(f'{settings}\n[runs]\nlease = "{options.lease}"\n')
        self.postgres = start_postgres(processes, free_port(), **fault.postgres)
        self.psql, self.admin_url = self.postgres.bin_dir / "psql", self.postgres.create_database("colloquy")
        # No superuser, so that a connection is left for the bench when the servers have taken all that they may.
        self.ask_database("create role colloquy login; alter database colloquy owner to colloquy")
        self.database_url = self.admin_url.replace("bench@", "colloquy@")
        self.ports = [free_port(), free_port()]
        self.running = {}
        for number, port in enumerate(self.ports):
            self.start(number)
            wait_until_ready(self.running[number], f"http://127.0.0.1:{port}/ready")
        if fault.prepare:
            self.ask_database(fault.prepare.replace("{seconds}", str(self.lease * 1.2)))
        self.strikes, self.burials, self.forced = 0, 0, 0
        self.over = threading.Event()

    def start(self, number):
        command = [self.binary, "serve", "--config", self.config, "--bind", f"127.0.0.1:{self.ports[number]}"]
        env = {"DATABASE_URL": self.database_url, "CHAOS_BENCH_API_KEY": "unused", "RUST_LOG": "error"}
        self.running[number] = self.processes.start(f"server-{number}", command, env=env)

    def end(self, number, how):
        """A server that does not end by itself in time is killed, as its supervisor would."""
        server = self.running[number]
        server.send_signal(how)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.forced += 1
            server.kill()
            server.wait()
        self.read_log(number)

    def read_log(self, number):
        log = self.running[number].log_path.read_text(errors="replace")
        self.burials += log.count("taken for dead")

    def strike_in_turn(self):
        for number in itertools.cycle(range(2)):
            if self.over.wait(self.fault.pause):
                return
            if self.fault.strike:
                self.fault.strike(self, number)
                self.strikes += 1
                # On a slow machine, too, there is time to serve between two strikes.
                for server, port in zip(self.running.values(), self.ports):
                    wait_until_ready(server, f"http://127.0.0.1:{port}/ready")

    def ask_database(self, statement):
        # By a file, because the ids of all runs are too long for a command line.
        file = self.processes.work_dir / "statement.sql"
        file.write_text(statement)
        command = [self.psql, "-qXtA", "-v", "ON_ERROR_STOP=1", "-d", self.admin_url, "-f", file]
        for _ in range(100):
            # 2: no connection, for a database that starts or has none left.
            asked = subprocess.run(command, cwd="/", capture_output=True, text=True, env=child_env())
            if asked.returncode != 2:
                break
            time.sleep(0.3)
        if asked.returncode:
            raise BenchError(f"The database could not be asked:\n{asked.stderr}")
        return asked.stdout.strip()

    def count(self, statements):
        return {what: int(self.ask_database(statement)) for what, statement in statements.items()}

    def wait_until_none(self, count, patience):
        """Seconds until this counts nothing any more, or until patience has ended."""
        started = time.monotonic()
        while time.monotonic() - started < patience and int(self.ask_database(f"select {count}")):
            time.sleep(0.5)
        return time.monotonic() - started

    def runs_by_status(self):
        statement = "select status || ': ' || count(*) from run_records group by status order by 1"
        return self.ask_database(statement).replace("\n", ", ")


class Clients:
    """Ask until every request has an answer; each try is a run of its own."""

    def __init__(self, servers, options):
        self.servers, self.options = servers, options
        self.numbers = iter(range(options.requests))
        self.lock = threading.Lock()
        self.answered, self.given_up, self.outcomes = [], 0, collections.Counter()

    def work(self):
        while True:
            with self.lock:
                number = next(self.numbers, None)
            if number is None:
                return
            for attempt in range(200):
                if self.ask(number, attempt):
                    break
            else:
                self.given_up += 1

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


def ask_under_fire(servers, clients, least_strikes=0):
    """Seconds that the requests took; it goes on until there were so many strikes."""
    threads = [threading.Thread(target=clients.work, daemon=True) for _ in range(clients.options.connections)]
    striker = threading.Thread(target=servers.strike_in_turn, daemon=True)
    started = time.monotonic()
    for thread in (striker, *threads):
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(10)
            say(f"{servers.fault.name}: {sum(clients.outcomes.values())} tries, {servers.strikes} strikes, {time.monotonic() - started:.0f} s")
    took = time.monotonic() - started
    while servers.strikes < least_strikes:
        time.sleep(0.1)
    servers.over.set()
    striker.join()
    for number in servers.running:
        servers.read_log(number)
    return took


def table(counts):
    rows = "\n".join(f"| {what} | {count} |" for what, count in counts.items())
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
    text = run_bench("chaos", run, options, HERE / results if options.requests >= full and not getattr(options, "fault", None) else None)
    sys.exit("**" in text)
