#!/usr/bin/env python3
"""Colloquy behind PgBouncer, and under clocks that are wrong. `run.sh` beside this has what it needs.

    drive.py COLLOQUY OLD_PGBOUNCER NEW_PGBOUNCER
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from serve import OFFLINE, Server  # noqa: E402  (it also makes `machine` importable)
from machine import (  # noqa: E402
    BenchError, child_env, free_port, run_checked, scratch_processes, start_postgres, unprivileged_user,
)

SETTINGS = OFFLINE + "update_memory_on_run = true\n\n[retention]\nsessions_after = \"90d\"\n"
# Longer than any refusal may take, and shorter than `database.connect_timeout`.
AT_ONCE_SECONDS = 15


class Bench:
    def __init__(self, processes, binary, old, new):
        self.processes, self.binary, self.old, self.new = processes, binary, old, new
        self.postgres = start_postgres(processes, free_port())
        self.failures = 0

    def check(self, name, holds, seen=""):
        print(("ok    " if holds else "FAIL  ") + name + ("" if holds else f"\n      {str(seen)[:1000]}"), flush=True)
        self.failures += not holds

    def sql(self, database, statement):
        psql = [self.postgres.bin_dir / "psql", "-XAtq", "-h", "127.0.0.1", "-p", self.postgres.port, "-U", "bench"]
        return run_checked([*psql, database, "-c", statement]).strip()

    def database(self, name):
        return self.postgres.create_database(name)

    def pool(self, program, database, mode, more=""):
        """A PgBouncer in front of the database; answers the URL. It is told of no parameter to ignore."""
        port, folder = free_port(), self.processes.work_dir
        name = f"{database}-{mode}-{port}"
        user = unprivileged_user() if os.geteuid() == 0 else None
        # A session keeps its server: all connections of two processes, and those of their job queues, need one each.
        size = 20 if mode == "session" else 12
        (folder / f"{name}.users").write_text('"bench" ""\n')
        (folder / f"{name}.ini").write_text(
            f"[databases]\n{database} = host=127.0.0.1 port={self.postgres.port} user=bench\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {folder}/{name}.users\npool_mode = {mode}\ndefault_pool_size = {size}\n{more}\n"
        )
        process = self.processes.start(name, [program, folder / f"{name}.ini"], user=user)
        url = f"postgres://bench@127.0.0.1:{port}/{database}"
        ready = [self.postgres.bin_dir / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        for _ in range(100):
            if process.poll() is not None:
                raise BenchError(f"PgBouncer ended:\n{process.log_path.read_text()}")
            if subprocess.run(ready).returncode == 0:
                return url
            time.sleep(0.1)
        raise BenchError(f"PgBouncer was not ready:\n{process.log_path.read_text()}")

    def refusal(self, name, url, words, **settings):
        env = {f"COLLOQUY_DATABASE__{key.upper()}": value for key, value in settings.items()}
        started = time.monotonic()
        ran = subprocess.run(
            [self.binary, "migrate"], env=child_env({"DATABASE_URL": url, **env}), cwd=self.processes.work_dir,
            capture_output=True, text=True, timeout=120, check=False,
        )
        took, said = time.monotonic() - started, ran.stderr
        holds = ran.returncode != 0 and all(word in said for word in words) and took < AT_ONCE_SECONDS
        self.check(name, holds, f"{took:.1f} s, exit {ran.returncode}: {said[-800:]}")

    def serve(self, url, binary=None, **settings):
        env = {f"COLLOQUY_DATABASE__{key.upper()}": value for key, value in settings.items()}
        server = Asked(self.processes, binary or self.binary)
        server.start(SETTINGS, env={"DATABASE_URL": url, **env})
        return server

    def with_clock(self, days):
        """The binary as a process whose clock is so many days off."""
        wrapper = self.processes.work_dir / f"colloquy{days}"
        wrapper.write_text(f'#!/bin/sh\nexec faketime -f {days} {self.binary} "$@"\n')
        wrapper.chmod(0o755)
        return wrapper


class Asked(Server):
    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def run(self, message, session, **more):
        body = {"message": message, "session_id": session, "user_id": session, **more}
        return self.ask("POST", "/agents/assistant/runs", body)


def until(holds, seconds=40):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False


def converse(bench, what, servers):
    """Sessions at once, each with a name of its own, on all servers: nobody hears another's, and nothing is refused."""

    def talk(n):
        server, session, name = servers[n % len(servers)], f"s{n}", f"Name{'abcdefghijkl'[n % 12]}{'mnopqrst'[n // 12]}"
        wrong = []
        for message, expected in ((f"My name is {name}", None), ("What's my name?", f"Your name is {name}.")):
            status, run = server.run(message, session)
            if status != 200 or (expected and run["content"] != expected):
                wrong.append((status, run))
        # Lists, searches and what counts are the statements without a name.
        for method, path, body in (
            ("GET", f"/sessions?user_id={session}&q=name", None),
            ("GET", f"/sessions?user_id={session}&session_name=name&sort_by=updated_at&page=1", None),
            ("POST", "/search", {"query": "my name", "user_id": session}),
            ("GET", f"/sessions/{session}/runs", None),
        ):
            status, answer = server.ask(method, path, body)
            of_others = [other for other in (f"s{m}" for m in range(96) if m != n) if f'"{other}"' in json.dumps(answer, default=str)]
            if status != 200 or of_others:
                wrong.append((method, path, status, of_others, answer))
        return wrong

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        wrong = [one for found in pool.map(talk, range(96)) for one in found]
    bench.check(f"{what}: 96 conversations at once are right", not wrong, f"{len(wrong)} wrong: {wrong[:3]}")
    learned = until(lambda: all(s.ask("GET", "/memories?user_id=s1")[1]["data"] for s in servers))
    bench.check(f"{what}: jobs are done", learned, servers[0].ask("GET", "/jobs"))
    status, run = servers[0].run("hi", "background", background=True)
    path = f"/agents/assistant/runs/{run['run_id']}?session_id=background" if status == 202 else "/"
    ended = until(lambda: servers[-1].ask("GET", path)[1]["status"] == "COMPLETED")
    bench.check(f"{what}: a background run ends", ended, run)
    status, _ = servers[0].ask("DELETE", "/sessions/s0?user_id=s0")
    bench.check(f"{what}: a session is deleted", status == 204 and servers[-1].ask("GET", "/sessions/s0")[0] == 404, status)
    for server in servers:
        server.stop()


def poolers(bench):
    plain = bench.database("pooled")
    old = lambda mode: bench.pool(bench.old, "pooled", mode)  # noqa: E731
    bench.refusal("old PgBouncer, transactions: refused", old("transaction"), ["1.21", "max_prepared_statements", "session"])
    bench.refusal("old PgBouncer, statements: refused", old("statement"), ["pool_mode", "transaction"])
    session = old("session")
    converse(bench, "old PgBouncer, sessions", [bench.serve(session, max_connections="5") for _ in range(2)])

    transaction = bench.pool(bench.new, "pooled", "transaction", "max_prepared_statements = 200")
    servers = [bench.serve(transaction, direct_url=plain, max_connections="8") for _ in range(2)]
    converse(bench, "new PgBouncer, transactions, direct_url", servers)
    converse(bench, "new PgBouncer, transactions alone", [bench.serve(transaction, max_connections="6") for _ in range(2)])
    bench.database("fresh")
    fresh = bench.pool(bench.new, "fresh", "transaction", "max_prepared_statements = 200")
    converse(bench, "new PgBouncer, transactions alone, an empty database", [bench.serve(fresh, max_connections="6")])

    none = bench.pool(bench.new, "pooled", "transaction", "max_prepared_statements = 0")
    bench.refusal("new PgBouncer without prepared statements: refused", none, ["max_prepared_statements"])
    bench.refusal("direct_url to the pooler: refused", transaction, ["database.direct_url"], direct_url=transaction)
    bench.refusal("options in the URL: refused", f"{session}?options=-csearch_path%3Dx", ["database.schema"])
    bench.refusal("a database that the pooler does not have: refused", session.replace("/pooled", "/other"), ["name another"])
    bench.sql("pooled", "alter role bench in database pooled set default_transaction_isolation = serializable")
    odd = bench.pool(bench.new, "pooled", "transaction", "max_prepared_statements = 200")
    remedy = "alter role bench in database pooled set default_transaction_isolation = 'read committed'"
    bench.refusal("other settings behind the pooler: refused with the remedy", odd, [remedy])


def clocks(bench):
    for days in ("+400d", "-400d"):
        name = f"clock{days[1:]}{'ahead' if days[0] == '+' else 'behind'}"
        url = bench.database(name)
        server = bench.serve(url, bench.with_clock(days))
        for session in ("used", "unused", "expired"):
            status, run = server.run("hi", session)
            bench.check(f"{days}: a run is answered", status == 200, run)
        off = bench.sql(name, "select max(abs(extract(epoch from created_at - now())))::int from sessions")
        bench.check(f"{days}: what is stored has the database's time", int(off) < 60, off)
        bench.sql(name, "update sessions set updated_at = now() - interval '1 day' where session_id = 'used'")
        bench.sql(name, "update sessions set updated_at = now() - interval '91 days' where session_id = 'unused'")
        bench.sql(name, "update sessions set expires_at = now() - interval '1 minute' where session_id = 'expired'")
        bench.sql(name, "update schedule set queued_at = now() + interval '400 days'")
        swept = until(lambda: bench.sql(name, "select string_agg(session_id, ',') from sessions") == "used")
        bench.check(f"{days}: what is due is removed, and nothing else", swept, bench.sql(name, "select session_id from sessions"))
        server.stop()


def main():
    binary, old, new = sys.argv[1:]
    with scratch_processes("pooled") as processes:
        processes.work_dir.chmod(0o711)
        bench = Bench(processes, str(pathlib.Path(binary).resolve()), old, new)
        poolers(bench)
        clocks(bench)
        return 1 if bench.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"{error}")
