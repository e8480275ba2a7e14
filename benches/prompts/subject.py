"""The server under these benches: where it is, and when it has nothing left to do."""

import json
import os
import pathlib
import time

from machine import BenchError, open_url

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
