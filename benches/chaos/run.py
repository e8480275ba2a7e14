#!/usr/bin/env python3
"""Does what must do no harm to servers and database under load, then counts what became of every run.

    benches/chaos/run.py                       10,000 requests under each fault, some minutes each; writes RESULTS.md
    benches/chaos/run.py --requests 500        a trial; writes no file unless --out
    benches/chaos/run.py --fault freezes       this one alone; writes no file unless --out

Two servers on one PostgreSQL; faults.py has what is done to them. Clients ask for JSON, streams and background runs, and
ask anew when a connection breaks. Build first: cargo build --release --bins --examples.
Needs Linux and PostgreSQL's server binaries; Python's standard library is enough.
"""

import http.client
import json
import random
import time

import chaos
import faults
from machine import scratch_processes, start_model_server

SETTINGS = """\
[models.fast]
provider = "openai"
id = "m"
base_url = "{model_url}/v1"
api_key_env = "CHAOS_BENCH_API_KEY"

[[agents]]
id = "assistant"
model = "fast"

[server]
shutdown_grace = "10ms"
"""

# What must be zero, by what it would mean.
HARM = {
    "runs without an end": "select count(*) from open_runs",
    "sessions with a gap in their numbers": "select count(*) from (select from runs group by session_id having min(seq) <> 1 or max(seq) <> count(*)) gaps",
    "sessions that are not free": "select count(*) from sessions where active_seq is not null or cardinality(waiting) > 0",
    "runs that neither have ended nor are open": "select count(*) from run_records where status is null",
    "completed runs whose state change is missing": "select count(*) from run_records r join sessions s using (session_id) where r.status = 'COMPLETED' and not s.session_state ? (r.metadata ->> 'attempt')",
    "state changes of no completed run": "select count(*) from sessions s, jsonb_object_keys(s.session_state) key where not exists (select from run_records r where r.session_id = s.session_id and r.status = 'COMPLETED' and r.metadata ->> 'attempt' = key)",
    "completed runs without exactly one answer": "select count(*) from run_records r where status = 'COMPLETED' and 1 <> (select count(*) from messages m where m.session_id = r.session_id and m.seq = r.seq and m.role = 'assistant')",
    "runs executed twice for one request": "select count(*) - count(distinct metadata ->> 'attempt') from runs",
}


class Clients(chaos.Clients):
    """Each try has a state change of its own."""

    def ask(self, number, attempt):
        kind = ("background", "stream", "json", "json")[number % 4]
        body = {
            "message": f"number {number}",
            "session_id": f"session-{number % self.options.sessions}",
            "session_state": {f"{number}.{attempt}": 1},
            "metadata": {"attempt": f"{number}.{attempt}"},
            "stream": kind == "stream",
            "background": kind == "background",
        }
        try:
            status, text = chaos.post(random.choice(self.servers.ports), "/agents/assistant/runs", body)
        except (OSError, http.client.HTTPException):
            return self.note("connection broke", False)
        if kind == "stream" and status == 200:
            last = text.rstrip().rpartition("data: ")[2]
            if '"event":"RunCompleted"' not in last:
                return self.note("stream broke", False)
            return self.note("answered", True, json.loads(last)["run_id"])
        if status in (200, 202):
            return self.note("answered", True, json.loads(text)["run_id"])
        return self.note(f"answered with {status}", False)


def stuck_sessions(servers, options):
    """How many sessions do not take another run, after all others have ended."""
    stuck = 0
    for number in range(options.sessions):
        body = {"message": "one more", "session_id": f"session-{number}", "stream": False}
        try:
            status, text = chaos.post(servers.ports[number % 2], "/agents/assistant/runs", body)
            stuck += status != 200 or json.loads(text)["status"] != "COMPLETED"
        except (OSError, http.client.HTTPException):
            stuck += 1
    return stuck


def suffer(fault, options):
    """What came of one fault: how it went, and how often there was harm."""
    with scratch_processes("chaos") as processes:
        model_url = start_model_server(processes, options.model_server, "--delay-ms", options.delay_ms)
        servers = chaos.Servers(options, processes, SETTINGS.format(model_url=model_url), fault)
        clients = Clients(servers, options)
        took = chaos.ask_under_fire(servers, clients)
        settled = servers.wait_until_none("count(*) from open_runs", patience=90)
        ids = ",".join(f"'{run_id}'" for run_id in clients.answered)
        lost = f"select count(*) from unnest(array[{ids}]::uuid[]) id where not exists (select from runs where run_id = id)"
        harm = servers.count(HARM | {"runs that a client was told of and that are not there": lost})
        story = f"""\
**{fault.name}.** {fault.what} {servers.strikes} times in {took:.0f} s; servers were taken for dead while they lived:
{servers.burials} times. Tries: {clients.tries()}. Runs by status: {servers.runs_by_status()}. The last run had ended
{settled:.0f} s after the last answer.
"""
        harm["requests that were never answered"] = clients.given_up
        harm["sessions that take no further run"] = stuck_sessions(servers, options)
        chaos.say(f"{fault.name}: {harm}")
        return story, harm


def run(options, _):
    chosen = [fault for fault in faults.ALL if not options.fault or fault.name in options.fault]
    results = {fault.name: suffer(fault, options) for fault in chosen}
    kinds = list(next(iter(results.values()))[1])
    rows = "\n".join(f"| {kind} | {' | '.join(str(harm[kind]) for _, harm in results.values())} |" for kind in kinds)
    is_unharmed = not any(any(harm.values()) for _, harm in results.values())
    verdict = "Nothing was lost, done twice or stuck." if is_unharmed else "**Something was lost, done twice or stuck.**"
    stories = "\n".join(story for story, _ in results.values()).replace("**", "*")
    return f"""\
# Chaos

Measured on {time.strftime('%Y-%m-%d')} with `benches/chaos/run.py`: under each fault {options.requests:,} requests on
{options.sessions} sessions at {options.connections} connections over two servers on one PostgreSQL. A quarter of the requests are
background runs, a quarter streams. A model answers after {options.delay_ms} ms; the lease is {options.lease}. A client whose connection
breaks asks anew. Afterwards every session is asked for one more run.

{stories}
| what must not be | {' | '.join(results)} |
| --- | {' | '.join('---' for _ in results)} |
{rows}

{verdict}
"""


def add_options(parser):
    parser.add_argument("--delay-ms", type=int, default=20, help="how long the model thinks")
    names = [fault.name for fault in faults.ALL]
    parser.add_argument("--fault", action="append", choices=names, help="only this one; may be given again")


if __name__ == "__main__":
    chaos.main(__doc__, run, 10_000, 64, "RESULTS.md", add_options)
