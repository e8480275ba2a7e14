#!/usr/bin/env python3
"""Measures what a long conversation costs per turn, and writes benches/prompts/RESULTS.md.

    benches/prompts/run.py                 500 turns, a minute or two
    benches/prompts/run.py --turns 50      fewer; writes no file unless --out

It starts a throw-away PostgreSQL, Colloquy as it was built last (release before debug) and a model that counts what it
is sent, and talks on one session with rolling summaries, on one without, on one whose user is learned from, and on some
whose user has more and more memories. A turn begins when the background work of the one before is done, as with a
person who reads the answer first. Python's standard library is enough.
"""

import json
import os
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "benches" / "load"))
from machine import BenchError, free_port, open_url, say, start_postgres, wait_until_ready  # noqa: E402

sys.path.insert(0, str(HERE))
from model_server import MEMORY_CHARACTERS, WORDS, Model, prose, serve  # noqa: E402
from subject import binary, main, wait_for_jobs  # noqa: E402

MESSAGE_CHARACTERS, ANSWER_CHARACTERS, SUMMARY_CHARACTERS = 200, 800, 1_200
KNOWN_MEMORIES = [0, 10, 80, 300, 800]
SHOWN_TURNS = [1, 5, 10, 20, 50, 100, 150, 200, 300, 400, 500]

CONFIG = """\
[server]
bind = "127.0.0.1:{port}"

[database]
url = "{database_url}"

[models.fast]
provider = "openai"
id = "counting"
base_url = "http://127.0.0.1:{model_port}/v1"

[[agents]]
id = "summaries"
instructions = "Answer in a few sentences."
enable_session_summaries = true

[[agents]]
id = "plain"
instructions = "Answer in a few sentences."
num_history_runs = 10

[[agents]]
id = "learning"
instructions = "Answer in a few sentences."
num_history_runs = 10
update_memory_on_run = true
add_memories_to_context = false

[[agents]]
id = "remembering"
instructions = "Answer in a few sentences."
num_history_runs = 10
add_memories_to_context = true
"""


class Turn:
    """One turn on one session: what was sent, and how long the answer took."""

    def __init__(self, calls, seconds, conversation):
        self.prompt = next(call.text for call in calls if not call.is_fold and not call.is_lesson)
        self.folds = [call.text for call in calls if call.is_fold]
        self.seconds = seconds
        self.conversation = conversation

    @property
    def characters(self):
        return len(self.prompt) + sum(map(len, self.folds))


class Session:
    def __init__(self, url, agent, model, memories=0):
        self.url, self.agent, self.model = url, agent, model
        self.session_id = self.user = f"{agent} {memories}"
        self.conversation = 0
        self.turns = []
        for number in range(memories):
            memory = {"memory": prose(MEMORY_CHARACTERS, f"memory {number}"), "user_id": self.user}
            open_url(f"{self.url}/memories", memory).close()

    def times(self):
        """Milliseconds that half of the answers, and 95 % of them, took at most."""
        cuts = statistics.quantiles((1e3 * turn.seconds for turn in self.turns), n=20, method="inclusive")
        return cuts[9], cuts[18]

    def take_turn(self, number):
        message = prose(MESSAGE_CHARACTERS, f"message {number}")
        body = {"message": message, "session_id": self.session_id, "user_id": self.user}
        started = time.perf_counter()
        with open_url(f"{self.url}/agents/{self.agent}/runs", body) as response:
            run = json.load(response)
        seconds = time.perf_counter() - started
        if failed := wait_for_jobs(self.url):
            raise BenchError(f"Background work failed: {failed}")
        self.conversation += len(body["message"]) + len(run["content"])
        self.turns.append(Turn(self.model.take(), seconds, self.conversation))


def common_prefix(a, b):
    return len(os.path.commonprefix([a, b]))


def prefixes(turns):
    """Of consecutive prompts without a fold between them: the common beginning, as shares of both."""
    pairs = [(a, b) for a, b in zip(turns, turns[1:]) if not a.folds]
    common = [(common_prefix(a.prompt, b.prompt), len(a.prompt), len(b.prompt)) for a, b in pairs]
    total = sum(prefix for prefix, _, _ in common)
    return total / sum(a for _, a, _ in common), total / sum(b for _, _, b in common)


def compared(what, session, other):
    (median, p95), (others_median, others_p95) = session.times(), other.times()
    return (
        f"- With {what} the median run's response takes **{median - others_median:+.1f} ms**, **{median / others_median:.2f}** times "
        f"as long ({median:.1f} ms against {others_median:.1f} ms, the model answering at once), "
        f"that of the slowest 5 % {p95 / others_p95:.2f} times ({p95:.1f} ms against {others_p95:.1f} ms)."
    )


def table_of_memories(learning, remembering, plain):
    what = ["learned from, and remembers nothing"]
    what += [f"remembered: {count} memories" for count in KNOWN_MEMORIES]
    (median, p95) = plain.times()
    lines = ["| the user is | median | times | 95 % | times |", "|---|---:|---:|---:|---:|"]
    lines.append(f"| nobody to learn from, and not remembered | {median:.1f} ms | 1 | {p95:.1f} ms | 1 |")
    for name, session in zip(what, [learning, *remembering]):
        own_median, own_p95 = session.times()
        lines.append(f"| {name} | {own_median:.1f} ms | {own_median / median:.2f} | {own_p95:.1f} ms | {own_p95 / p95:.2f} |")
    return lines


def report(summarized, plain, learning, remembering, built):
    turns = summarized.turns
    whole = sum(turn.conversation for turn in turns)
    sent = sum(turn.characters for turn in turns)
    of_earlier, of_later = prefixes(turns)
    lines = [
        "# What a long conversation costs",
        "",
        f"{len(turns)} turns in one session, {MESSAGE_CHARACTERS} characters said and {ANSWER_CHARACTERS} answered in each, "
        f"summaries of {SUMMARY_CHARACTERS}; default limits; {built} build. Written by `benches/prompts/run.py`.",
        "",
        "| turn | characters of the prompt | calls of the model up to here | characters of all calls up to here "
        "| to re-read the conversation at this turn | at each turn up to here |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    calls = sent_so_far = whole_so_far = 0
    for number, turn in enumerate(turns, 1):
        calls += 1 + len(turn.folds)
        sent_so_far += turn.characters
        whole_so_far += turn.conversation
        if number in SHOWN_TURNS or number == len(turns):
            columns = [number, len(turn.prompt), calls, sent_so_far, turn.conversation, whole_so_far]
            lines.append("| " + " | ".join(f"{value:,}" for value in columns) + " |")
    largest = max(len(turn.prompt) for turn in turns)
    folds = [text for turn in turns for text in turn.folds]
    lines += [
        "",
        f"- All calls together, runs and folds, took **{sent / whole:.1%}** of the characters that re-reading the whole "
        "conversation at each turn would take.",
        f"- The largest prompt had {largest:,} characters, the largest of {len(folds)} folds {max(map(len, folds), default=0):,}.",
        f"- Between folds, **{of_earlier:.1%}** of a prompt is the beginning of the next, which it makes up **{of_later:.1%}** of.",
        compared("summaries", summarized, plain),
        "",
        "## What memories cost a run",
        "",
        "The same turns; how long a run's response takes, the model answering at once. All that is said and remembered is in "
        f"the same {len(WORDS)} words, so that nearly every memory is a hit; {MEMORY_CHARACTERS} characters each, as many in the "
        "prompt as fit. What is learned is learned afterwards, a memory a turn.",
        "",
        *table_of_memories(learning, remembering, plain),
        "",
    ]
    return "\n".join(lines)


def run(options, processes):
    kind, server = (options.server.parent.name, options.server.resolve()) if options.server else binary()
    postgres = start_postgres(processes, free_port())
    model, model_port, port = Model(ANSWER_CHARACTERS, SUMMARY_CHARACTERS), free_port(), free_port()
    serve(model, model_port)
    config = processes.work_dir / "colloquy.toml"
    config.write_text(CONFIG.format(port=port, model_port=model_port, database_url=postgres.create_database("prompts")))
    url = f"http://127.0.0.1:{port}"
    wait_until_ready(processes.start("colloquy", [server, "serve", "--config", config]), f"{url}/ready")
    sessions = [Session(url, agent, model) for agent in ("summaries", "plain", "learning")]
    remembering = [Session(url, "remembering", model, count) for count in KNOWN_MEMORIES]
    for number in range(1, options.turns + 1):
        # In turn, so that all see the same machine.
        for session in sessions + remembering:
            session.take_turn(number)
    text = report(*sessions, remembering, kind)
    print(text)
    out = options.out or (HERE / "RESULTS.md" if options.turns >= SHOWN_TURNS[-1] else None)
    if out:
        out.write_text(text)
        say(f"Written to {out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(__doc__, "prompts", 500, run))
