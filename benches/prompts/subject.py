"""The server under these benches: where it is, when it has nothing left to do, and how such a bench is started."""

import argparse
import json
import os
import pathlib
import time

from machine import BenchError, open_url, say, scratch_processes

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def binary():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    for kind in ("release", "debug"):
        if (target / kind / "colloquy").exists():
            return kind, target / kind / "colloquy"
    raise BenchError("There is no colloquy to measure; build it with `cargo build --release`.")


def wait_for_jobs(url, patience=30):
    """Waits until nothing waits or runs; answers the jobs that have failed for good."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with open_url(f"{url}/jobs") as response:
            jobs = json.load(response)["data"]
        if all(job["status"] == "failed" for job in jobs):
            return jobs
        time.sleep(0.005)
    raise BenchError("The background work did not end.")


def main(description, name, turns, run, add_options=lambda parser: None):
    """Calls `run(options, processes)`; answers what the program exits with."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=turns)
    parser.add_argument("--server", type=pathlib.Path, help="a colloquy binary, instead of the one in target")
    parser.add_argument("--out", type=pathlib.Path, help=f"where the report goes (default benches/{name}/RESULTS.md)")
    add_options(parser)
    options = parser.parse_args()
    try:
        with scratch_processes(name) as processes:
            return run(options, processes)
    except BenchError as error:
        say(f"error: {error}")
        return 1
