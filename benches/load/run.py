#!/usr/bin/env python3
"""Measures what a run costs on top of the floor, and writes benches/load/RESULTS.md.

    benches/load/run.py            about five minutes
    benches/load/run.py --quick    a smoke test, under a minute after the build

It builds the release binaries, starts a throw-away PostgreSQL (durable), the scripted model server, the floor and
Colloquy on free loopback ports, and loads the floor and Colloquy in turn, so that both see the same machine. Needs
Linux, wrk (`apt-get install wrk`) and PostgreSQL's server binaries; Python's standard library is enough.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

from machine import TARGET, BenchError, free_port, say, scratch_processes, start_model_server, start_postgres, wait_until_ready
from measure import Bench, Subject, probe
from report import describe, report

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

CONNECTIONS = [1, 16, 64]
RUNS_BEFORE_MEMORY_COUNTS = 10_000

CONFIG = """\
[server]
bind = "127.0.0.1:{port}"

[database]
url = "{database_url}"

[models.fast]
provider = "openai"
id = "gpt-4o-mini"
base_url = "{model_url}/v1"
api_key_env = "LOAD_BENCH_API_KEY"

[[agents]]
id = "assistant"
model = "fast"
add_history_to_context = true
num_history_runs = 3
"""


def build(options):
    command = ["cargo", "build", "--release", "--example", "load_model_server", "--example", "load_floor"]
    if not options.stand_in and options.server is None:
        command += ["--bin", "colloquy"]
    if subprocess.run(command, cwd=ROOT, env={**os.environ, "SQLX_OFFLINE": "true"}).returncode != 0:
        raise BenchError("The build failed.")


def start_servers(options, processes, postgres, model_url):
    """The floor, and the server or its stand-in."""
    floor = TARGET / "release" / "examples" / "load_floor"

    def start_floor(name, port):
        command = [floor, "--bind", f"127.0.0.1:{port}", "--model-url", f"{model_url}/v1"]
        return processes.start(name, command, env={"DATABASE_URL": postgres.create_database(name)})

    def start_colloquy(port):
        config = processes.work_dir / "colloquy.toml"
        database_url = postgres.create_database("colloquy")
        text = CONFIG.format(port=port, database_url=database_url, model_url=model_url)
        config.write_text(text + "".join(f"{setting}\n" for setting in options.agent_setting))
        env = {"LOAD_BENCH_API_KEY": "unused", "DATABASE_URL": database_url}
        binary = options.server or TARGET / "release" / "colloquy"
        return processes.start("colloquy", [binary, "serve", "--config", config], env=env)

    floor_port, port = options.floor_port or free_port(), options.port or free_port()
    second = start_floor("stand-in", port) if options.stand_in else start_colloquy(port)
    subjects = [
        Subject("floor", start_floor("floor", floor_port), f"http://127.0.0.1:{floor_port}", "/run"),
        Subject(second.name, second, f"http://127.0.0.1:{port}", "/agents/assistant/runs"),
    ]
    for subject in subjects:
        wait_until_ready(subject.process, f"{subject.url}/ready")
        probe(subject)
    return subjects


def run(options, processes):
    rounds = options.rounds or (1 if options.quick else 5)
    seconds = options.seconds or (2 if options.quick else 6)
    postgres = start_postgres(processes, options.postgres_port or free_port())
    model_url = start_model_server(processes, TARGET / "release" / "examples" / "load_model_server", port=options.model_port)
    subjects = start_servers(options, processes, postgres, model_url)
    bench = Bench(processes.work_dir, postgres, model_url)

    say("Warming up.")
    for subject in subjects:
        bench.load(subject, 16, 1 if options.quick else 3)
    rows = {connections: bench.measure(subjects, connections, rounds, seconds) for connections in CONNECTIONS}
    while not options.quick and min(subject.runs for subject in subjects) < RUNS_BEFORE_MEMORY_COUNTS:
        say("  more runs before memory is read")
        for subject in subjects:
            bench.load(subject, 16, seconds)

    text = report(subjects, rows, describe(options, postgres, rounds, seconds))
    print(text)
    out = options.out or (None if options.quick or options.stand_in else HERE / "RESULTS.md")
    if out:
        out.write_text(text)
        say(f"Written to {out}.")
    errors = sum(row.errors for by_name in rows.values() for row in by_name.values())
    return 1 if errors else 0


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round each; writes no file unless --out")
    parser.add_argument("--stand-in", action="store_true", help="a second floor plays Colloquy: tries the bench itself")
    parser.add_argument("--server", type=pathlib.Path, help="a colloquy binary that is built already")
    parser.add_argument("--no-build", action="store_true", help="take the binaries as they are")
    parser.add_argument(
        "--agent-setting",
        action="append",
        default=[],
        metavar="'KEY = VALUE'",
        help="a further line of TOML for the agent, for example 'enable_session_summaries = true'",
    )
    parser.add_argument("--rounds", type=int, help="rounds per server and number of connections (default 5)")
    parser.add_argument("--seconds", type=int, help="seconds per round (default 6)")
    parser.add_argument("--out", type=pathlib.Path, help="where the tables go (default benches/load/RESULTS.md)")
    for name in ("port", "floor-port", "model-port", "postgres-port"):
        parser.add_argument(f"--{name}", type=int, help="instead of a free one")
    return parser.parse_args()


def main():
    options = parse_options()
    if options.server:
        options.server = options.server.resolve()
    try:
        if shutil.which("wrk") is None:
            raise BenchError("wrk is missing. Get it with `apt-get install wrk`.")
        if not options.no_build:
            build(options)
        with scratch_processes("load") as processes:
            return run(options, processes)
    except BenchError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
