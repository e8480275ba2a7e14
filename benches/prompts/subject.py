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
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with open_url(f"{url}/jobs") as response:
            jobs = [job for job in json.load(response)["data"] if job["kind"] == "fold_session"]
        if not jobs:
            return
        if any(job["status"] == "failed" for job in jobs):
            raise BenchError(f"A fold failed: {jobs}")
        time.sleep(0.005)
    raise BenchError("The background work did not end.")
