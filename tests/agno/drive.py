#!/usr/bin/env python3
"""Drives a server with agno's own AgentOSClient, step by step, and stops at the first thing that is not right.

    drive.py http://127.0.0.1:7777

The client checks every answer against AgentOS's own models; the steps here check that what it then hands its caller is
right. Expects an agent `assistant` on the offline model.
"""

import asyncio
import itertools
import logging
import os
import sys
import uuid

# The server is on this machine, whatever proxy is set; no usage reports from the client either.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
os.environ["AGNO_TELEMETRY"] = "false"

import httpx
from agno.client import AgentOSClient
from agno.db.base import SessionType
from agno.run.base import RunStatus

AGENT = "assistant"
USER = f"alice-{uuid.uuid4()}"

STREAM_ORDER = [
    "RunStartedEvent",
    "ModelRequestStartedEvent",
    "RunContentEvent",
    "ModelRequestCompletedEvent",
    "RunContentCompletedEvent",
    "RunCompletedEvent",
]


class Unexpected(Exception):
    """Something was not as expected."""


def expect(what, actual, expected):
    if actual != expected:
        raise Unexpected(f"{what}: expected {expected!r}, got {actual!r}")


def expect_that(what, condition, actual):
    if not condition:
        raise Unexpected(f"expected {what}, got {actual!r}")


async def expect_not_found(what, call):
    try:
        answer = await call
    except httpx.HTTPStatusError as error:
        expect(f"status of {what}", error.response.status_code, 404)
        detail = error.response.json().get("detail")
        expect_that(f"a sentence in `detail` of {what}", isinstance(detail, str) and detail, detail)
        return
    raise Unexpected(f"expected a 404 for {what}, got {answer!r}")


def expect_completed(run, session_id):
    expect("status", run.status, RunStatus.completed)
    expect("session_id", run.session_id, session_id)
    expect("agent_id", run.agent_id, AGENT)
    expect("user_id", run.user_id, USER)
    expect_that("a run_id", run.run_id, run.run_id)
    expect_that("content", isinstance(run.content, str) and run.content, run.content)
    expect("model_provider", run.model_provider, "offline")
    expect_that("metrics with a duration", run.metrics and run.metrics.duration, run.metrics)
    tokens = run.metrics.input_tokens + run.metrics.output_tokens
    expect("metrics.total_tokens", run.metrics.total_tokens, tokens)


class Drive:
    """The conversation as it goes: each step leaves here what a later one needs."""

    def __init__(self, url):
        self.client = AgentOSClient(base_url=url, timeout=30)
        self.session_id = f"agno-{uuid.uuid4()}"
        self.run_ids = []
        self.created_id = None

    # --- What there is

    async def get_config(self):
        config = self.client.get_config()
        expect_that("an os_id", config.os_id, config.os_id)
        expect_that("a database", config.databases, config.databases)
        expect_that(f"{AGENT} among the agents", AGENT in [agent.id for agent in config.agents], config.agents)
        expect("aget_config", await self.client.aget_config(), config)

    async def list_agents(self):
        agents = {agent.id: agent for agent in await self.client.list_agents()}
        expect_that(f"{AGENT} among the agents", AGENT in agents, list(agents))
        agent = agents[AGENT]
        expect("name", agent.name, "Assistant")
        expect("model.id", agent.model and agent.model.id, "offline")
        expect_that("a db_id", agent.db_id, agent.db_id)

    async def get_agent(self):
        agent = self.client.get_agent(AGENT)
        expect("id", agent.id, AGENT)
        expect("name", agent.name, "Assistant")
        expect("model.model", agent.model and agent.model.model, "offline")
        await expect_not_found("an unknown agent", self.client.aget_agent("nobody"))
        await expect_not_found("a run of an unknown agent", self.client.run_agent("nobody", "Hello"))

    # --- A conversation

    async def run_agent(self):
        run = await self.client.run_agent(AGENT, "My name is Alice", session_id=self.session_id, user_id=USER)
        expect_completed(run, self.session_id)
        expect("roles of the messages", [message.role for message in run.messages or []][-2:], ["user", "assistant"])
        expect("input", run.input and run.input.input_content, "My name is Alice")
        self.run_ids.append(run.run_id)

    async def run_agent_again(self):
        run = await self.client.run_agent(AGENT, "What's my name?", session_id=self.session_id, user_id=USER)
        expect_completed(run, self.session_id)
        expect_that("`Alice` in the answer", "Alice" in run.content, run.content)
        expect_that("another run_id", run.run_id not in self.run_ids, run.run_id)
        self.run_ids.append(run.run_id)

    async def run_agent_in_a_new_session(self):
        run = await self.client.run_agent(AGENT, "What's my name?", user_id=USER)
        expect_that("a session_id of its own", run.session_id not in (None, "", self.session_id), run.session_id)
        expect_that("no `Alice` in the answer", "Alice" not in run.content, run.content)
        await self.client.delete_session(run.session_id, user_id=USER)

    async def run_agent_stream(self):
        stream = self.client.run_agent_stream(AGENT, "What is my name?", session_id=self.session_id, user_id=USER)
        events = [event async for event in stream]
        names = [type(event).__name__ for event in events]
        expect("order of the events", [name for name, _ in itertools.groupby(names)], STREAM_ORDER)
        completed = events[-1]
        expect_that("`Alice` in the answer", "Alice" in (completed.content or ""), completed.content)
        pieces = [event.content or "" for event in events if type(event).__name__ == "RunContentEvent"]
        expect("the pieces joined", "".join(pieces), completed.content)
        for name in ("run_id", "session_id", "agent_id"):
            expect(f"values of {name}", {getattr(event, name) for event in events}, {getattr(completed, name)})
        expect("session_id", completed.session_id, self.session_id)
        expect("agent_id", completed.agent_id, AGENT)
        expect_that("metrics", completed.metrics, completed.metrics)
        self.run_ids.append(completed.run_id)

    # --- What may follow

    async def cancel_agent_run(self):
        # What has ended, or never was, is told as the error that the client documents.
        for run_id, status in ((self.run_ids[-1], 409), ("01a206c1-4b42-72a9-b242-a016793c2551", 404)):
            try:
                await self.client.cancel_agent_run(AGENT, run_id)
                expect("the cancelling", "passed", f"refused with {status}")
            except httpx.HTTPStatusError as error:
                expect("the status", error.response.status_code, status)

    async def continue_agent_run(self):
        run = await self.client.run_agent(AGENT, "My name is Bob", user_id=USER)
        went_on = await self.client.continue_agent_run(
            AGENT, run.run_id, tools=[], session_id=run.session_id, user_id=USER, input="What's my name?"
        )
        expect_completed(went_on, run.session_id)
        expect_that("`Bob` in the answer", "Bob" in went_on.content, went_on.content)
        stream = self.client.continue_agent_run_stream(
            AGENT, went_on.run_id, tools=[], session_id=run.session_id, user_id=USER, regenerate=True
        )
        events = [event async for event in stream]
        expect("the last event", type(events[-1]).__name__, "RunCompletedEvent")
        await self.client.delete_session(run.session_id, user_id=USER)

    # --- What was kept of it

    async def get_session(self):
        session = await self.client.get_session(self.session_id, user_id=USER)
        expect("session_id", session.session_id, self.session_id)
        expect("agent_session_id", session.agent_session_id, self.session_id)
        expect("agent_id", session.agent_id, AGENT)
        expect("user_id", session.user_id, USER)
        expect("session_name", session.session_name, "My name is Alice")
        roles = [message["role"] for message in session.chat_history or []]
        expect("roles in chat_history", roles, ["user", "assistant"] * 3)
        expect_that("created_at with a zone", session.created_at and session.created_at.tzinfo, session.created_at)
        typed = await self.client.get_session(self.session_id, session_type=SessionType.AGENT, user_id=USER)
        expect("the session read with its type", typed, session)
        foreign = self.client.get_session(self.session_id, user_id="somebody-else")
        await expect_not_found("somebody else's session", foreign)

    async def get_session_runs(self):
        runs = await self.client.get_session_runs(self.session_id, user_id=USER)
        expect("run_ids", [run.run_id for run in runs], self.run_ids)
        inputs = ["My name is Alice", "What's my name?", "What is my name?"]
        expect("run_input", [run.run_input for run in runs], inputs)
        expect("status", {run.status for run in runs}, {"COMPLETED"})
        expect("agent_id", {run.agent_id for run in runs}, {AGENT})
        expect_that("content everywhere", all(run.content for run in runs), [run.content for run in runs])
        expect_that("created_at with a zone", all(run.created_at.tzinfo for run in runs), runs[0].created_at)
        completed = await self.client.get_session_runs(self.session_id, user_id=USER, status=["completed"])
        expect("runs with status=completed", len(completed), 3)
        failed = await self.client.get_session_runs(self.session_id, user_id=USER, status=["ERROR"])
        expect("runs with status=ERROR", failed, [])

    async def get_session_run(self):
        run = await self.client.get_session_run(self.session_id, self.run_ids[1], user_id=USER)
        expect("run_id", run.run_id, self.run_ids[1])
        expect("run_input", run.run_input, "What's my name?")
        missing = self.client.get_session_run(self.session_id, str(uuid.uuid4()), user_id=USER)
        await expect_not_found("an unknown run", missing)

    async def get_session_run_previews(self):
        previews = await self.client.aget_session_run_previews(self.session_id, user_id=USER)
        expect("run_ids", [preview.run_id for preview in previews], self.run_ids)
        expect("run_input", previews[0].run_input, "My name is Alice")
        expect_that("`Alice` in the preview", "Alice" in (previews[1].content_preview or ""), previews[1])

    # --- Sessions by hand

    async def create_session(self):
        session = await self.client.create_session(
            user_id=USER,
            agent_id=AGENT,
            session_name="Plans for the summer",
            session_state={"step": 1},
            metadata={"source": "drive"},
        )
        expect_that("a session_id", session.session_id, session.session_id)
        expect("session_name", session.session_name, "Plans for the summer")
        expect("session_state", session.session_state, {"step": 1})
        expect("metadata", session.metadata, {"source": "drive"})
        expect("user_id", session.user_id, USER)
        self.created_id = session.session_id
        runs = await self.client.get_session_runs(self.created_id, user_id=USER)
        expect("runs of a new session", runs, [])

    async def get_sessions(self):
        page = await self.client.get_sessions(session_type=SessionType.AGENT, component_id=AGENT, user_id=USER)
        ids = [session.session_id for session in page.data]
        expect("session_ids, newest first", ids, [self.created_id, self.session_id])
        expect("meta.total_count", page.meta.total_count, 2)
        expect("session_type", {session.session_type for session in page.data}, {"agent"})
        named = await self.client.get_sessions(user_id=USER, session_name="SUMMER")
        expect("sessions named summer", [session.session_id for session in named.data], [self.created_id])
        second = await self.client.get_sessions(user_id=USER, limit=1, page=2)
        expect("the second page of one", [session.session_id for session in second.data], [self.session_id])
        expect("meta.total_pages", second.meta.total_pages, 2)
        nobody = await self.client.get_sessions(user_id="somebody-else")
        expect("sessions of somebody else", nobody.data, [])

    async def rename_session(self):
        renamed = await self.client.rename_session(self.session_id, "About Alice", user_id=USER)
        expect("session_name", renamed.session_name, "About Alice")
        session = await self.client.get_session(self.session_id, user_id=USER)
        expect("session_name, read again", session.session_name, "About Alice")

    async def update_session(self):
        updated = await self.client.update_session(self.created_id, session_state={"step": 2}, user_id=USER)
        expect("session_state", updated.session_state, {"step": 2})
        expect("session_name", updated.session_name, "Plans for the summer")
        expect("metadata", updated.metadata, {"source": "drive"})

    async def delete_session(self):
        for session_id in (self.session_id, self.created_id):
            await self.client.delete_session(session_id, user_id=USER)
            await expect_not_found("a deleted session", self.client.get_session(session_id, user_id=USER))
        page = await self.client.get_sessions(user_id=USER)
        expect("sessions that are left", page.data, [])

    def steps(self):
        return [
            self.get_config,
            self.list_agents,
            self.get_agent,
            self.run_agent,
            self.run_agent_again,
            self.run_agent_in_a_new_session,
            self.run_agent_stream,
            self.cancel_agent_run,
            self.continue_agent_run,
            self.get_session,
            self.get_session_runs,
            self.get_session_run,
            self.get_session_run_previews,
            self.create_session,
            self.get_sessions,
            self.rename_session,
            self.update_session,
            self.delete_session,
        ]


class Complaints(logging.Handler):
    """The client logs and skips a stream's line that it cannot read: here that is a failure."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        reason = f" ({record.exc_info[1]})" if record.exc_info else ""
        self.messages.append(record.getMessage() + reason)


def describe_answer(response):
    request = response.request
    try:
        body = response.text
    except httpx.ResponseNotRead:
        body = "(a stream)"
    return f"{request.method} {request.url} answered {response.status_code}: {body}"


async def main():
    if len(sys.argv) != 2:
        print("usage: drive.py URL", file=sys.stderr)
        return 2
    complaints = Complaints()
    logging.getLogger("agno").addHandler(complaints)
    for step in Drive(sys.argv[1]).steps():
        name = step.__name__
        try:
            await step()
            expect("complaints in the client's log", complaints.messages, [])
        except httpx.HTTPStatusError as error:
            print(f"FAILED {name}: {describe_answer(error.response)}")
            return 1
        except Exception as error:
            print(f"FAILED {name}: {type(error).__name__}: {error}")
            return 1
        print(f"ok     {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
