#!/usr/bin/env python3
"""Does what documents tell a reader to do, in their order, and compares what they show with what comes.

    replay.py BINARY DOCUMENT…

Each document begins with a server as it is when nothing is set, on an empty database. Settings that it shows hold until its
next section: the server is started again with them. `$RUN_ID` and its like are what the answer before said. A document may
be a settings file, which has to be taken with and without what it only mentions.
"""

import json
import os
import pathlib
import re
import select
import subprocess
import sys
import time
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from document import NewSection, Settings, steps, steps_of_settings
from serve import BenchError, child_env, say, scratch_server
from machine import open_url

README_ADDRESS = "http://127.0.0.1:7777"
PATIENCE_SECONDS = 60
MOST_TOLD = 2_000
# How settings are refused that are right, and ask for a build with more features.
NEEDS_ANOTHER_BUILD = "which this build does not have"
# Begun like this, a line is for the reader's machine and not for the server.
NOT_FOR_THE_SERVER = ("cargo ", "cp ", "export ")
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
# Whoever has a key is served by its provider; the documents show what comes without.
NOTHING_IS_SET = {name: "" for name in (*KEYS, "DATABASE_URL")}

PRELUDE = r"""
set -o pipefail
curl() {
    command curl --fail-with-body --max-time 30 --noproxy '*' "$@"
    local code=$?
    echo $code >>curl-exits
    return $code
}
"""


class Shell:
    """A reader's shell: what one line sets, the next ones have."""

    def __init__(self, folder):
        folder.mkdir()
        self.exits = folder / "curl-exits"
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.process = subprocess.Popen(["bash"], cwd=folder, env=child_env(), bufsize=0, **pipes)
        self.run(PRELUDE)

    def run(self, text):
        """What the line wrote, and how each of its calls of curl ended."""
        self.exits.write_text("")
        self.process.stdin.write(f"{text}\nprintf '\\0'\n".encode())
        written = b""
        while not written.endswith(b"\0"):
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
            part = os.read(self.process.stdout.fileno(), 65_536) if ready else b""
            if not part:
                raise BenchError(f"The shell said no more after: {text}")
            written += part
        return written[:-1].decode(), [int(code) for code in self.exits.read_text().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Reader:
    """Goes through one document."""

    def __init__(self, name, server, shell):
        self.name, self.server, self.shell = name, server, shell
        self.has_settings = False
        self.done = self.compared = 0
        self.faults = []

    def read(self, steps):
        self.server.start(env=NOTHING_IS_SET)
        for step in steps:
            if isinstance(step, NewSection):
                if self.has_settings:
                    self.server.start(env=NOTHING_IS_SET)
                    self.has_settings = False
            elif isinstance(step, Settings):
                self.set(step)
            elif not step.text.startswith(NOT_FOR_THE_SERVER):
                self.do(step)

    def set(self, settings):
        self.has_settings = True
        try:
            self.server.start(with_models(settings.text), with_keys(settings.text))
        except BenchError as error:
            if NEEDS_ANOTHER_BUILD not in str(error):
                self.fault(settings, f"These settings are not taken: {error}")
            self.server.start(env=NOTHING_IS_SET)

    def do(self, command):
        came, exits = self.shell.run(command.text.replace(README_ADDRESS, self.server.url))
        self.done += 1
        wanted = 22 if command.shows_an_error else 0
        if not exits or any(code != wanted for code in exits):
            self.fault(command, f"curl ended with {exits or 'nothing'}, not with {wanted}: {came}")
        elif command.shown:
            self.compared += 1
            if not command.matches(came):
                self.fault(command, f"Shown is\n{command.shown}\nand there came\n{came[:MOST_TOLD]}")
        for name, value in reversed(re.findall(r'"(\w+_id)":"([^"]+)"', came)):
            self.shell.run(f"{name.upper()}='{value}'")
        accepted = re.match(r'{"run_id":"([^"]+)","session_id":"([^"]+)".*"status":"PENDING"}', came)
        self.wait_for_the_background("/sessions/{1}/runs/{0}".format(*accepted.groups()) if accepted else None)

    def wait_for_the_background(self, run):
        """As somebody who reads before typing on, until this run and all jobs are done; what has failed once is not waited
        for."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.is_under_way(run) or any("last_error" not in job for job in self.ask("/jobs")["data"]):
            if time.monotonic() > deadline:
                raise BenchError(f"The background work did not end: {self.ask('/jobs')}")
            time.sleep(0.05)

    def is_under_way(self, run):
        return run is not None and self.ask(run)["status"] in ("PENDING", "RUNNING")

    def ask(self, path):
        with open_url(self.server.url + path) as response:
            return json.load(response)

    def fault(self, step, what):
        self.faults.append(what)
        say(f"{self.name}:{step.line}: {what}\n")


def with_models(settings):
    """Settings as shown, with a model for every name that they use and do not explain."""
    told = tomllib.loads(settings)
    used = set(re.findall(r'^\s*(?:\w+_)?model = "([^"]+)"', settings, re.MULTILINE)) - set(told.get("models", {}))
    return settings + "".join(f'\n[models.{name}]\nprovider = "offline"\nid = "offline"\n' for name in sorted(used))


def with_keys(settings):
    """What the environment has to say for providers that ask for a key; nobody calls them with it."""
    hosted = re.search(r'^provider = "(?!offline|ollama)', settings, re.MULTILINE)
    return NOTHING_IS_SET | {name: "unused" for name in KEYS if hosted}


def replay(binary, document):
    with scratch_server(binary) as server:
        shell = Shell(server.processes.work_dir / "reader")
        reader = Reader(document.name, server, shell)
        try:
            find_steps = steps_of_settings if document.suffix == ".toml" else steps
            reader.read(find_steps(document.read_text()))
        finally:
            shell.close()
        say(f"{document.name}: {reader.done} lines, {reader.compared} answers compared, {len(reader.faults)} faults.")
        return len(reader.faults)


def main():
    binary, *documents = sys.argv[1:]
    return sum(replay(binary, pathlib.Path(document)) for document in documents) > 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"{error}")
