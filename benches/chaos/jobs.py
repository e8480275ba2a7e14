#!/usr/bin/env python3
"""Kills servers while they learn and summarize, then counts what became of the work; writes benches/chaos/JOBS.md.

    benches/chaos/jobs.py                      2,000 requests on the release build, about a minute
    benches/chaos/jobs.py --requests 200       a trial; writes no file unless --out

As run.py, with the offline model, which learns and summarizes by rule: each request tells a fact of its own, so that
afterwards each completed run has to have left one memory, and every session one chain of summaries.
"""

import http.client
import itertools
import time

import chaos

HIGH, LOW = 400, 100

SETTINGS = f"""\
[models.offline]
provider = "offline"
id = "offline"

[[agents]]
id = "assistant"
model = "offline"
update_memory_on_run = true
enable_session_summaries = true
history = {{ high_tokens = {HIGH}, low_tokens = {LOW} }}
"""

# A job that another took the place of while its process died is no work any more.
LEFT = "from graphile_worker._private_jobs j where not exists (select from graphile_worker._private_job_retirements r where r.id = j.id)"
WORK = f"(select count(*) from open_runs) + (select count(*) {LEFT} and attempts < max_attempts) + (select count(*) from memory_turns)"
# What must be zero, by what it would mean.
FAULTS = {
    "runs without an end": "select count(*) from open_runs",
    "jobs that are left or were given up": f"select count(*) {LEFT}",
    "completed runs that were never read for memories": "select count(*) from memory_turns",
    "completed runs whose fact is not in exactly one memory": "select count(*) from run_records r join sessions s using (session_id) where r.status = 'COMPLETED' and 1 <> (select count(*) from memories m where m.user_id = s.user_id and m.memory like '%' || (r.metadata ->> 'attempt') || '%')",
    "memories that were added twice or never": "select count(*) from memories m where 1 <> (select count(*) from memory_events e where e.user_id = m.user_id and e.memory_id = m.memory_id and e.action = 'add')",
    "memories without the run that they are from": "select count(*) from memories m where not exists (select from memory_sources s where s.user_id = m.user_id and s.memory_id = m.memory_id)",
    "sessions whose fold did not happen": f"select count(*) from sessions where unfolded_tokens > {HIGH}",
    "sessions whose summaries skip a run or count one twice": "select count(*) from sessions s where (select count(*) from run_records r where r.session_id = s.session_id and r.seq <= s.summary_through and r.status = 'COMPLETED') <> (select coalesce(sum(folded_runs), 0) from summaries u where u.session_id = s.session_id)",
}


class Clients(chaos.Clients):
    def __init__(self, servers, options):
        super().__init__(servers, options)
        self.ports = itertools.cycle(servers.ports)

    def ask(self, number, attempt):
        session = number % self.options.sessions
        body = {
            "message": f"I like w{number}a{attempt}b.",
            "session_id": f"session-{session}",
            "user_id": f"user-{session % (self.options.sessions // 2)}",
            "metadata": {"attempt": f"w{number}a{attempt}b"},
            "stream": False,
            "background": number % 4 == 0,
        }
        try:
            status, _ = chaos.post(next(self.ports), "/agents/assistant/runs", body)
        except (OSError, http.client.HTTPException):
            return self.note("connection broke", False)
        return self.note("answered" if status in (200, 202) else f"answered with {status}", status in (200, 202))


def run(options, processes):
    servers = chaos.Servers(options, processes, SETTINGS)
    clients = Clients(servers, options)
    took = chaos.ask_under_fire(servers, clients, options.kills)
    rest = servers.wait_until_none(WORK, patience=120)
    counts = servers.count({what: f"select count(*) from {what}" for what in ("memories", "summaries")})
    faults = servers.count(FAULTS)
    verdict = "Nothing was lost or done twice." if not any(faults.values()) else "**Something was lost or done twice.**"
    return f"""\
# Chaos in the background

Measured on {time.strftime('%Y-%m-%d')} with `benches/chaos/jobs.py`: {options.requests:,} requests on {options.sessions} sessions
of {options.sessions // 2} users at {options.connections} connections over two servers on one PostgreSQL, of which one was killed
(SIGKILL) and started again every two seconds: {servers.strikes} times. The offline model learns from every run and folds sessions.

The requests took {took:.0f} s, what was left in the background {rest:.0f} s after the last kill.
Tries: {clients.tries()}. Runs by status: {servers.runs_by_status()}. Memories: {counts['memories']:,}, summaries: {counts['summaries']:,}.

{chaos.table(faults)}

{verdict}
"""


def add_options(parser):
    parser.add_argument("--kills", type=int, default=20, help="at least so many")


if __name__ == "__main__":
    chaos.main(__doc__, run, 2_000, 16, "JOBS.md", add_options)
