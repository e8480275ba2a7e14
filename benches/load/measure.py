"""Rounds of load against one server after the other, and what came of them."""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import urllib.error

from machine import BenchError, cpu_seconds, flush_ms, open_url, postgres_cpu_seconds, run_checked, say

SCRIPT = pathlib.Path(__file__).resolve().parent / "runs.lua"


@dataclasses.dataclass
class Subject:
    """A server under load."""

    name: str
    process: subprocess.Popen
    url: str
    path: str
    runs: int = 0


@dataclasses.dataclass
class Round:
    runs: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    server_cpu: float = 0.0
    postgres_cpu: float = 0.0
    model_calls: int = 0
    prompt_chars: int = 0
    flush_ms: float = 0.0


@dataclasses.dataclass
class Row:
    """All rounds of one server at one number of connections."""

    rounds: list

    def median(self, value):
        return statistics.median(map(value, self.rounds))

    def per_run(self, value):
        return sum(map(value, self.rounds)) / max(1, sum(each.runs for each in self.rounds))

    throughput = property(lambda self: self.median(lambda each: each.runs / each.seconds))
    best_throughput = property(lambda self: max(each.runs / each.seconds for each in self.rounds))
    p50_ms = property(lambda self: self.median(lambda each: each.p50_ms))
    p99_ms = property(lambda self: self.median(lambda each: each.p99_ms))
    flush_ms = property(lambda self: self.median(lambda each: each.flush_ms))
    server_cpu_ms = property(lambda self: 1e3 * self.per_run(lambda each: each.server_cpu))
    postgres_cpu_ms = property(lambda self: 1e3 * self.per_run(lambda each: each.postgres_cpu))
    model_calls = property(lambda self: self.per_run(lambda each: each.model_calls))
    prompt_chars = property(lambda self: self.per_run(lambda each: each.prompt_chars))
    errors = property(lambda self: sum(each.errors for each in self.rounds))

    # Against the floor round by round: what slows the machine for a while slows both.

    def share_of(self, floor):
        """Throughput in parts of the floor's."""
        return self.against(floor, lambda ours, theirs: (ours.runs / ours.seconds) / (theirs.runs / theirs.seconds))

    def extra_p50_ms(self, floor):
        return self.against(floor, lambda ours, theirs: ours.p50_ms - theirs.p50_ms)

    def extra_p99_ms(self, floor):
        return self.against(floor, lambda ours, theirs: ours.p99_ms - theirs.p99_ms)

    def against(self, floor, compare):
        return statistics.median(map(compare, self.rounds, floor.rounds))


class Bench:
    def __init__(self, work_dir, postgres, model_url):
        self.work_dir = work_dir
        self.postgres = postgres
        self.model_url = model_url
        self.rounds_begun = 0

    def load(self, subject, connections, seconds):
        """One round of wrk against one server."""
        self.rounds_begun += 1
        threads = 1 if connections < 16 else 2
        tag = f"{os.getpid()}-{self.rounds_begun}"
        command = ["wrk", "--threads", threads, "--connections", connections, "--duration", f"{seconds}s"]
        command += ["--timeout", "30s", "--script", SCRIPT, subject.url]
        command += ["--", subject.path, tag, connections // threads]
        open_url(f"{self.model_url}/reset", body={}).close()
        flush = flush_ms(self.work_dir)
        postmaster, pid = self.postgres.process.pid, subject.process.pid
        server_before, postgres_before = cpu_seconds(pid), postgres_cpu_seconds(postmaster)
        output = run_checked(command)
        server_cpu = cpu_seconds(pid) - server_before
        postgres_cpu = postgres_cpu_seconds(postmaster) - postgres_before
        with open_url(f"{self.model_url}/stats") as response:
            stats = json.load(response)
        for line in output.splitlines():
            if line.startswith("RESULT "):
                result = Round(
                    **json.loads(line.removeprefix("RESULT ")),
                    server_cpu=server_cpu,
                    postgres_cpu=postgres_cpu,
                    model_calls=stats["calls"],
                    prompt_chars=stats["prompt_chars"],
                    flush_ms=flush,
                )
                subject.runs += result.runs
                return result
        raise BenchError(f"wrk printed no result:\n{output}")

    def measure(self, subjects, connections, rounds, seconds):
        """The servers in turn, the other one first in every second round."""
        by_name = {subject.name: [] for subject in subjects}
        for number in range(rounds):
            for subject in subjects if number % 2 == 0 else reversed(subjects):
                result = self.load(subject, connections, seconds)
                by_name[subject.name].append(result)
                say(
                    f"  {connections:>2} connections, round {number + 1}, {subject.name:>8}: "
                    f"{result.runs / result.seconds:5.0f} runs/s, median {result.p50_ms:.2f} ms, "
                    f"p99 {result.p99_ms:.2f} ms, {result.errors} errors"
                )
        return {name: Row(results) for name, results in by_name.items()}


def probe(subject):
    """Two runs of one session by hand: what is measured must be what is meant."""
    for message in ("Hello", "Hello again"):
        body = {"message": message, "session_id": "load-probe"}
        try:
            with open_url(subject.url + subject.path, body=body) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise BenchError(
                f"{subject.name} answered {error.code}: {error.read().decode(errors='replace')}"
            ) from error
        if answer.get("status") != "COMPLETED" or not answer.get("content"):
            raise BenchError(f"{subject.name} answered a run without COMPLETED and content: {answer}")
