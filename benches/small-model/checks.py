"""What must hold whatever a model says, and what was seen."""

import json

from machine import open_url, say


class Checks:
    """What held, and what did not; and what there was to see."""

    def __init__(self):
        self.held = 0
        self.failures = []
        self.seen = []

    def expect(self, holds, what):
        if holds:
            self.held += 1
        else:
            self.failures.append(what)
            say(f"  not so: {what}")

    def note(self, text):
        self.seen.append(text)
        say(text)


class Talker:
    """Talks to an agent of the server."""

    def __init__(self, url, agent):
        self.url, self.agent = url, agent

    def say(self, message, **fields):
        body = {"message": message, **fields}
        return self.fetch(f"/agents/{self.agent}/runs", body)

    def fetch(self, path, body=None):
        # A small model on a slow machine takes its time.
        with open_url(self.url + path, body, timeout=600) as response:
            return json.load(response)
