"""One long conversation, with its summary."""

from machine import say
from subject import wait_for_jobs

HIGH, LOW, MOST, SUMMARY = 500, 200, 900, 150

AGENT = f"""\
[[agents]]
id = "assistant"
instructions = "Answer in one short sentence."
enable_session_summaries = true
auto_title = true
history = {{ high_tokens = {HIGH}, low_tokens = {LOW}, max_tokens = {MOST} }}

[agents.session_summary]
max_tokens = {SUMMARY}
"""

TOPICS = ["bread", "rivers", "chess", "trains", "cats", "rain", "maps", "bridges", "soup", "stars"]


def message(number):
    if number == 1:
        return "Hi, my name is Alice. Please remember it."
    return f"Tell me one thing about {TOPICS[number % len(TOPICS)]}, please. This is my question number {number}."


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
    checks.note(f"There were {len(versions)} summaries, {knowing} of them with the name.")


def converse(talker, checks, turns):
    largest, failed = 0, []
    for number in range(1, turns + 1):
        run = talker.say(message(number), session_id="s")
        check_turn(checks, number, run)
        largest = max(largest, run["metrics"]["input_tokens"])
        say(f"{number}: {run['context']['tokens']} {run['content'][:70]!r}")
        failed = wait_for_jobs(talker.url, patience=900)
    checks.note(f"{turns} turns; the largest prompt had {largest:,} tokens; {len(failed)} background jobs failed.")
    check_summaries(checks, talker.fetch("/sessions/s/summaries?limit=100")["data"])
    answer = talker.say("What is my name?", session_id="s")["content"]
    checks.expect("Alice" in answer, f"the name that was told in turn 1 is known after turn {turns}: {answer!r}")
    session = talker.fetch("/sessions/s")
    checks.note(f"The session is called {session['session_name']!r}. Its summary: {session.get('summary')!r}")
