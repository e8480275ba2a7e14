#!/usr/bin/env python3
"""How well a search finds what was said, and how fast.

    benches/retrieval/run.py path/to/conversations.json --server http://127.0.0.1:7777 [--vectors NAME] [--write]

The file is a list of conversations in the format of LoCoMo (https://github.com/snap-research/locomo; CC BY-NC 4.0, for
evaluation only): each has `conversation.session_<n>` with turns of two people, `session_<n>_date_time`, and `qa` with the
turns that answer each question as `evidence`. The conversations are taken in over the API, each under a user of its own, and
every question that has evidence is asked over the API. `--vectors` says by which embedding model the server searches too;
`minilm.py` gets a small one. `--write` puts the figures into their section of RESULTS.md.
"""

import argparse
import datetime
import json
import pathlib
import re
import statistics
import sys
import time
import urllib.request
import uuid

CUTS = (5, 10, 20)
BUDGET = 1000
LARGE = 10_000


class Server:
    def __init__(self, url, vectors):
        self.url = url.rstrip("/")
        self.vectors = vectors

    def request(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    def settle(self):
        """Waits until nothing is left to do: until everything has its vector."""
        while jobs := self.request("/jobs")["data"]:
            if failed := [job["last_error"] for job in jobs if job["status"] == "failed"]:
                sys.exit(f"A job has failed: {failed[0]}")
            time.sleep(0.2)

    def search(self, body):
        answer = self.request("/search", {**body, "explain": True})
        expected = "used" if self.vectors else "off"
        if answer["meta"]["vectors"] != expected:
            sys.exit(f"Vectors are {answer['meta']['vectors']}; without --vectors they should be off, with it used.")
        return answer["data"]


class Conversation:
    """One conversation: its turns by session, its questions with the turns that answer them."""

    def __init__(self, data):
        talk = data["conversation"]
        numbers = sorted(int(key.split("_")[1]) for key in talk if re.fullmatch(r"session_\d+", key))
        self.sessions = {number: talk[f"session_{number}"] for number in numbers}
        self.dates = {number: parse_date(talk[f"session_{number}_date_time"]) for number in numbers}
        self.first_speaker = talk["speaker_a"]
        known = {turn["dia_id"] for turns in self.sessions.values() for turn in turns}
        self.questions = []
        for qa in data["qa"]:
            named = re.findall(r"D(\d+):(\d+)", " ".join(map(str, qa.get("evidence", []))))
            evidence = {f"D{session}:{int(turn)}" for session, turn in named} & known
            if evidence:
                self.questions.append((qa["question"], evidence))

    def take_in(self, server, user, prefix):
        """Takes all sessions in; answers the turn of each text of a session."""
        turn_of = {}
        for number, turns in self.sessions.items():
            session_id = f"{prefix}-{number}"
            messages = []
            for at, turn in enumerate(turns):
                content = f"{turn['speaker']}: {turn['text']}"
                if turn.get("blip_caption"):
                    content += f" [shares a photo: {turn['blip_caption']}]"
                role = "user" if turn["speaker"] == self.first_speaker else "assistant"
                created_at = self.dates[number] + datetime.timedelta(seconds=30 * at)
                messages.append({"role": role, "content": content, "created_at": created_at.isoformat()})
                turn_of[session_id, content] = turn["dia_id"]
            server.request(f"/sessions/{session_id}/messages", {"user_id": user, "messages": messages})
        return turn_of


def parse_date(text):
    return datetime.datetime.strptime(text, "%I:%M %p on %d %B, %Y").replace(tzinfo=datetime.timezone.utc)


def ask(server, user, question, **how):
    body = {"query": question, "user_id": user, "types": ["message"], **how}
    started = time.perf_counter()
    hits = server.search(body)
    took = (time.perf_counter() - started) * 1000
    return [(hit["message"]["session_id"], hit["message"]["content"]) for hit in hits], took


def measure_recall(server, conversations):
    recall = {cut: [] for cut in CUTS}
    sessions_hit, within_budget = [], []
    for conversation in conversations:
        user = f"retrieval-{uuid.uuid4()}"
        turn_of = conversation.take_in(server, user, user)
        server.settle()
        session_of = {turn: session for (session, _), turn in turn_of.items()}
        for question, evidence in conversation.questions:
            hits, _ = ask(server, user, question, limit=100)
            turns = [turn_of[hit] for hit in hits]
            for cut in CUTS:
                recall[cut].append(len(evidence & set(turns[:cut])) / len(evidence))
            best_sessions = list(dict.fromkeys(session for session, _ in hits))[:5]
            sessions_hit.append(any(session_of[turn] in best_sessions for turn in evidence))
            hits, _ = ask(server, user, question, max_tokens=BUDGET)
            within_budget.append(len(evidence & {turn_of[hit] for hit in hits}) / len(evidence))
    figures = {f"recall of evidence turns at {cut}": statistics.mean(values) for cut, values in recall.items()}
    figures["a session with evidence among the best 5"] = statistics.mean(sessions_hit)
    figures[f"recall of evidence within {BUDGET:,} tokens"] = statistics.mean(within_budget)
    return len(sessions_hit), figures


def measure_latency(server, conversations):
    """One user with all conversations, over and over until there are enough turns."""
    user, count, copy = f"retrieval-{uuid.uuid4()}", 0, 0
    while count < LARGE:
        for number, conversation in enumerate(conversations):
            count += len(conversation.take_in(server, user, f"{user}-{copy}-{number}"))
        copy += 1
    server.settle()
    questions = [question for conversation in conversations for question, _ in conversation.questions][:300]
    for question in questions[:20]:
        ask(server, user, question)
    times = sorted(ask(server, user, question)[1] for question in questions)
    return count, times[len(times) // 2], times[int(len(times) * 0.95)]


RESULTS = pathlib.Path(__file__).with_name("RESULTS.md")
INTRO = """# What a search finds

Written by `benches/retrieval/run.py`: LoCoMo's questions, default settings. The weights were chosen with three of the
conversations and looked at with the other two.
"""


def write(title, lines):
    """Replaces the section of this title, and leaves the others."""
    _, *sections = re.split(r"^## ", RESULTS.read_text(), flags=re.MULTILINE) if RESULTS.exists() else [""]
    by_title = {section.split("\n", 1)[0]: section.strip() for section in sections}
    by_title[title] = "\n".join([title, "", *lines])
    RESULTS.write_text(INTRO + "".join(f"\n## {by_title[title]}\n" for title in sorted(by_title)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=pathlib.Path)
    parser.add_argument("--server", default="http://127.0.0.1:7777")
    parser.add_argument("--vectors", metavar="NAME", help="the embedding model that the server has")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md")
    parser.add_argument("--no-latency", action="store_true")
    options = parser.parse_args()
    conversations = [Conversation(data) for data in json.loads(options.conversations.read_text())]
    server = Server(options.server, options.vectors)
    asked, figures = measure_recall(server, conversations)
    turns = sum(len(turns) for conversation in conversations for turns in conversation.sessions.values())
    lines = [f"{len(conversations)} conversations, {turns:,} turns, {asked:,} questions.", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} |" for name, value in figures.items()]
    if not options.no_latency:
        count, median, p95 = measure_latency(server, conversations)
        lines += ["", f"One user with {count:,} turns, over HTTP: half of the searches take less than {median:.0f} ms, 95 % less than {p95:.0f} ms."]
    print("\n".join(lines))
    if options.write:
        write(f"With vectors of {options.vectors}" if options.vectors else "By words alone", lines)


if __name__ == "__main__":
    main()
