#!/usr/bin/env python3
"""Loads many sessions into a PostgreSQL of its own and measures what a list, a search and a session take.

    cargo build --release
    benches/sessions/run.py [--sessions 10000 1000000] [--binary target/release/colloquy]

Writes RESULTS.md beside itself. Needs wrk (`apt-get install wrk`) and PostgreSQL's programs, on PATH or where Debian has
them; as root they run as the user postgres. A million sessions take some minutes and 6 GB. So much shared memory wants
huge pages (https://www.postgresql.org/docs/current/kernel-resources.html#LINUX-HUGE-PAGES); `sysctl vm.nr_hugepages` gives them.
"""

import argparse
import datetime
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

import questions

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CONNECTIONS = [1, 16]
# Of the server, as many as two for each processor of the database.
POOL = 2 * os.cpu_count()
MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20


def programs():
    initdb = shutil.which("initdb") or max(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
    if initdb is None:
        raise SystemExit("There is no initdb on PATH or in /usr/lib/postgresql; install PostgreSQL")
    return pathlib.Path(initdb).resolve().parent


def as_postgres(*command):
    drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    subprocess.run([*drop, *map(str, command)], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd="/")


def free_huge_pages():
    """In MB."""
    figures = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    pages, size = (int(figures[name].split()[0]) for name in ("HugePages_Free", "Hugepagesize"))
    return pages * size / 1024


class Database:
    def __init__(self, directory):
        self.directory, self.programs = directory, programs()
        directory.chmod(0o755)
        data = directory / "data"
        data.mkdir(mode=0o700)
        if os.getuid() == 0:
            shutil.chown(directory, "postgres")
            shutil.chown(data, "postgres")
        as_postgres(self.programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C.UTF-8", "-E", "UTF8")
        self.huge_pages = free_huge_pages() > 1.1 * MEMORY / 4
        pages = "on" if self.huge_pages else "off"
        options = f"-k {directory} -c listen_addresses= -c fsync=off -c shared_buffers={MEMORY // 4}MB -c max_wal_size=8GB -c max_connections=60 -c autovacuum=off -c jit=off -c huge_pages={pages}"
        as_postgres(self.programs / "pg_ctl", "-D", data, "-l", directory / "log", "-w", "-o", options, "start")
        self.url = f"postgres://postgres@localhost/sessions?host={directory}"

    def psql(self, *arguments, database="sessions"):
        command = ["psql", "-qX", "-h", self.directory, "-U", "postgres", "-d", database, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def fill(self, binary, sessions):
        self.psql("-c", "drop database if exists sessions", "-c", "create database sessions", database="postgres")
        environment = {**os.environ, "DATABASE_URL": self.url}
        subprocess.run([binary, "migrate"], check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = time.monotonic()
        self.psql("-v", f"sessions={sessions}", "-f", HERE / "load.sql")
        return time.monotonic() - begun

    def stop(self):
        as_postgres(self.programs / "pg_ctl", "-D", self.directory / "data", "-m", "immediate", "stop")


class Server:
    def __init__(self, binary, url, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        settings = directory / "colloquy.toml"
        settings.write_text(f'[models.offline]\nprovider = "offline"\n[database]\nmax_connections = {POOL}\n[jobs]\nworkers = 0\n')
        environment = {**os.environ, "DATABASE_URL": url, "RUST_LOG": "warn"}
        command = [binary, "serve", "--bind", self.address, "--config", settings]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://{self.address}/ready", timeout=1)
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("The server was not ready within 30 seconds")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def measured(server, sessions, seconds):
    """Rows of the table: name, and p50 and p99 for each number of connections."""
    makers = questions.requests(sessions, max(sessions // 50, 20))
    cursors = questions.deep_cursors(server.address, min(sessions // 100, 2000))[-50:]
    deep = lambda: f"/sessions?include_total=false&limit=100&cursor={random.choice(cursors)}"
    short = lambda: f"/sessions?include_total=false&limit=20&cursor={random.choice(cursors)}"
    makers |= {"a page behind a deep cursor": short, "the same, a hundred sessions": deep}
    for name, make in makers.items():
        questions.measure(server.address, make, max(CONNECTIONS), 1)
        yield name, [questions.measure(server.address, make, connections, seconds) for connections in CONNECTIONS]


def report(results, loads, seconds, pages):
    sizes = sorted(results)
    columns = [f"{size:,}: {connections} at once, p50 | p99" for size in sizes for connections in CONNECTIONS]
    lines = [
        "# Lists and searches of many sessions",
        "",
        f"Written by `benches/sessions/run.py` on {datetime.date.today()}: {os.cpu_count()} processors that carry server, PostgreSQL and",
        f"client together, PostgreSQL with {MEMORY // 4096} GB of shared buffers in {pages} pages, warm and with nothing left to write, {POOL} connections between them, {seconds} s of requests of each kind with other values each time, by {' and '.join(map(str, CONNECTIONS))} connections; five runs and",
        "ten messages to a session. Milliseconds, as the client sees them. `GET /health` is the round trip alone: with more",
        "connections than processors most of each number is waiting for a turn.",
        "",
        "| | " + " | ".join(columns) + " |",
        "|---|" + "---:|---:|" * len(columns),
    ]
    for name in results[sizes[0]]:
        cells = [f"{p50:.1f} | {p99:.1f}" for size in sizes for p50, p99 in results[size][name]]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Loading took " + ", ".join(f"{taken:.0f} s for {size:,}" for size, taken in loads.items()) + ".", ""]
    (HERE / "RESULTS.md").write_text("\n".join(lines))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--binary", default=ROOT / "target/release/colloquy")
    parser.add_argument("--seconds", type=int, default=5)
    arguments = parser.parse_args()
    results, loads = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        database = Database(directory)
        try:
            for sessions in arguments.sessions:
                loads[sessions] = database.fill(arguments.binary, sessions)
                print(f"{sessions} sessions loaded in {loads[sessions]:.0f} s", flush=True)
                server = Server(arguments.binary, database.url, directory)
                try:
                    results[sessions] = {}
                    for name, times in measured(server, sessions, arguments.seconds):
                        results[sessions][name] = times
                        print(f"{name}: {times}", flush=True)
                finally:
                    server.stop()
        finally:
            database.stop()
    report(results, loads, arguments.seconds, "huge" if database.huge_pages else "ordinary")


if __name__ == "__main__":
    main()
