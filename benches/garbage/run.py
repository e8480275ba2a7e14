#!/usr/bin/env python3
"""Counts what background work asks of a model that is of no use to it, and writes benches/garbage/RESULTS.md.

    benches/garbage/run.py                     1,000 turns of each kind, a few minutes
    benches/garbage/run.py --turns 60          a trial; writes no file unless --out
    benches/garbage/run.py --kinds garbage     one kind alone

One user talks in sessions of 50 turns with an agent that learns, summarizes and finds titles. The model answers the runs,
and background work as the kind says. "As if every pause were over" makes the pauses of the breaker a millisecond and lets
every job that waits begin at each tenth turn, so that nothing but the attempts bounds what is asked. Python's standard library
is enough.
"""

import collections
import pathlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "load"), str(HERE.parent / "prompts")]
from machine import free_port, open_url, run_checked, say, start_postgres, wait_until_ready  # noqa: E402
from model_server import serve  # noqa: E402
from subject import binary, main  # noqa: E402

TURNS_PER_SESSION = 50
SHOWN = [10, 50, 100, 250, 500, 1_000]
WORK = {"<remembered>": "memories", "<previous_summary>": "summaries", "You name conversations": "titles"}
RUN = "a run"

# What the model answers to the call of background work with this number: a status and a text.
KINDS = {
    "garbage": lambda call: (200, "I would rather talk about the weather."),
    "garbage, as if every pause were over": lambda call: (200, "I would rather talk about the weather."),
    "an empty answer": lambda call: (200, ""),
    "JSON of another shape": lambda call: (200, '{"memories": ["tea"], "headline": "Tea"}'),
    "a 500": lambda call: (500, "out of order"),
    "a refusal (400)": lambda call: (400, "no"),
    "garbage every other time": lambda call: (200, "no" if call % 4 < 2 else '{"operations": []}'),
}

CONFIG = """\
[server]
bind = "127.0.0.1:{port}"

[database]
url = "{database_url}"
max_connections = 8
{pause}
[models.fast]
provider = "openai"
id = "useless"
base_url = "http://127.0.0.1:{model_port}/v1"

[[agents]]
id = "assistant"
update_memory_on_run = true
enable_session_summaries = true
auto_title = true
history = {{ high_tokens = 300, low_tokens = 100 }}
"""


class Model:
    def __init__(self, answer):
        self.answer, self.calls, self.lock = answer, collections.Counter(), threading.Lock()

    def respond(self, request):
        text = "".join(message.get("content") or "" for message in request["messages"])
        work = next((name for mark, name in WORK.items() if mark in text), RUN)
        with self.lock:
            call = sum(self.calls[name] for name in WORK.values())
            self.calls[work] += 1
        return self.answer(call) if work != RUN else (200, "Noted. " + "A few more words. " * 10)


def measure(number, kind, options, processes, postgres, server):
    """The calls of each kind of work after so many turns."""
    model, model_port, port = Model(KINDS[kind]), free_port(), free_port()
    model_server = serve(model, model_port)
    hurries = "pause were over" in kind
    database_url = postgres.create_database(f"garbage{number}")
    pause = '\n[jobs]\nmodel_pause = "1ms"\n' if hurries else ""
    config = processes.work_dir / f"garbage{number}.toml"
    config.write_text(CONFIG.format(port=port, model_port=model_port, database_url=database_url, pause=pause))
    process = processes.start(f"colloquy{number}", [server, "serve", "--config", config])
    url = f"http://127.0.0.1:{port}"
    wait_until_ready(process, f"{url}/ready")

    def hurry():
        if hurries:
            due = "update graphile_worker._private_jobs set run_at = now() where locked_at is null and attempts < max_attempts"
            run_checked([postgres.bin_dir / "psql", "-qX", "-d", database_url, "-c", due])

    def settle():
        """Waits until nothing more is asked."""
        seen, since = None, time.monotonic()
        while time.monotonic() - since < 3:
            hurry()
            if model.calls != seen:
                seen, since = model.calls.copy(), time.monotonic()
            time.sleep(0.2)

    counts = {}
    for turn in range(1, options.turns + 1):
        body = {
            "message": f"I like tea number {turn}. " + "And some more words. " * 5,
            "session_id": f"session-{turn // TURNS_PER_SESSION}",
            "user_id": "alice",
        }
        open_url(f"{url}/agents/assistant/runs", body).close()
        if turn % 10 == 0:
            hurry()
        if turn in SHOWN or turn == options.turns:
            settle()
            counts[turn] = model.calls.copy()
            say(f"{kind}, {turn} turns: {dict(counts[turn])}")
    process.terminate()
    process.wait()
    model_server.shutdown()
    return counts


def report(results, options, built):
    lines = [
        "# What a useless model is asked",
        "",
        f"{options.turns:,} turns of one user in sessions of {TURNS_PER_SESSION}, as fast as they are answered, with an agent that "
        f"learns, summarizes and finds titles; {built} build. Counted are the requests that background work has sent to the model, "
        "repetitions of a failed one included. Written by `benches/garbage/run.py`.",
        "",
        "| the model answers | turns | for memories | per turn | for summaries | per session | for titles | per session |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    most = dict.fromkeys(WORK.values(), 0.0)
    for kind, counts in results.items():
        for turns, calls in counts.items():
            sessions = turns // TURNS_PER_SESSION + 1
            shares = {"memories": turns, "summaries": sessions, "titles": sessions}
            most = {work: max(most[work], calls[work] / share) for work, share in shares.items()}
            row = [f"{turns:,}", f"{calls['memories']:,}", f"{calls['memories'] / turns:.2f}"]
            for work in ("summaries", "titles"):
                row += [f"{calls[work]:,}", f"{calls[work] / sessions:.2f}"]
            lines.append(f"| {kind} | " + " | ".join(row) + " |")
    lines += [
        "",
        f"The most, for memories: {most['memories']:.2f} per turn; per session, for summaries: {most['summaries']:.2f}, for titles: "
        f"{most['titles']:.2f}. Two answers for each of three attempts are six; a call that fails is repeated by `models.max_retries`. "
        "While the model fails at everything, the breaker lets one attempt through per pause.",
        "",
    ]
    return "\n".join(lines)


def run(options, processes):
    kind, server = (options.server.parent.name, options.server.resolve()) if options.server else binary()
    postgres = start_postgres(processes, free_port())
    kinds = options.kinds or list(KINDS)
    # At once: what is counted does not depend on how long it takes.
    with ThreadPoolExecutor(len(kinds)) as pool:
        measured = pool.map(lambda number: measure(number, kinds[number], options, processes, postgres, server), range(len(kinds)))
        results = dict(zip(kinds, measured))
    text = report(results, options, kind)
    print(text)
    out = options.out or (HERE / "RESULTS.md" if options.turns >= SHOWN[-1] and not options.kinds else None)
    if out:
        out.write_text(text)
        say(f"Written to {out}.")
    return 0


def add_options(parser):
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS))


if __name__ == "__main__":
    sys.exit(main(__doc__, "garbage", 1_000, run, add_options))
