"""Short dialogues, each of a user of its own: what is learned, and what comes of it in another session."""

from subject import wait_for_jobs

AGENT = """\
[[agents]]
id = "learner"
instructions = "Answer in one short sentence."
update_memory_on_run = true
add_memories_to_context = true
"""


class Dialogue:
    """One user who says something in one session and asks about it in another."""

    def __init__(self, talker, checks, user):
        self.talker, self.checks, self.user = talker, checks, user

    def tell(self, *messages, session="first"):
        for message in messages:
            self.talker.say(message, user_id=self.user, session_id=f"{self.user}-{session}")
            failed = wait_for_jobs(self.talker.url, patience=900)
            about = [job for job in failed if job["about"] == self.user]
            self.checks.expect(not about, f"what {self.user} said is learned from: {about}")

    def ask(self, message):
        """The answer in a new session, and the memories that it was given."""
        run = self.talker.say(message, user_id=self.user, session_id=f"{self.user}-second")
        return run["content"], run["context"].get("memories") or []

    def known(self):
        memories = self.talker.fetch(f"/memories?user_id={self.user}&limit=100")["data"]
        return [memory["memory"] for memory in memories]


def preference(dialogue):
    dialogue.tell("I love pizza, especially margherita")
    known = dialogue.known()
    dialogue.checks.expect(any("pizza" in memory.lower() for memory in known), f"that Mark loves pizza is known: {known}")
    answer, used = dialogue.ask("What food do I like?")
    dialogue.checks.expect(used, "the run in the new session says which memories it was given")
    dialogue.checks.expect("pizza" in answer.lower(), f"the new session knows of the pizza: {answer!r}")
    dialogue.checks.note(f"Pizza: known {known}; answered {answer!r}.")


def change(dialogue):
    dialogue.tell("I live in Berlin.", "I moved: I live in Lisbon now, not in Berlin any more.")
    known = dialogue.known()
    dialogue.checks.expect(any("Lisbon" in memory for memory in known), f"the new home is known: {known}")
    old = [memory for memory in known if "Berlin" in memory and "Lisbon" not in memory and " not " not in memory]
    dialogue.checks.expect(not old, f"the old home is no longer known: {old}")
    answer, _ = dialogue.ask("Where do I live?")
    dialogue.checks.expect("Lisbon" in answer, f"the new session knows the new home: {answer!r}")
    dialogue.checks.note(f"A changed fact: known {known}; answered {answer!r}.")


def trivia(dialogue):
    dialogue.tell("What is the capital of France?", "How many legs does a spider have?")
    known = dialogue.known()
    dialogue.checks.expect(not known, f"trivia teach nothing of the user: {known}")
    dialogue.checks.note(f"Trivia: known {known}.")


def name(dialogue):
    dialogue.tell("Hi, my name is Alice.", "What is a good name for a cat?")
    known = dialogue.known()
    dialogue.checks.expect(any("Alice" in memory for memory in known), f"the name is known: {known}")
    answer, _ = dialogue.ask("What is my name?")
    dialogue.checks.expect("Alice" in answer, f"the new session knows the name: {answer!r}")
    dialogue.checks.note(f"A name: known {known}; answered {answer!r}.")


def talk(talker, checks):
    dialogues = {"mark": preference, "lena": change, "tom": trivia, "alice": name}
    for user, hold in dialogues.items():
        hold(Dialogue(talker, checks, user))
