"""A model that answers at once and counts what it is sent: the other end of the prompt bench."""

import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = (
    "the a of to and in that it is was for on are with as they at be this from have or by one had not but what all "
    "were when we there can an your which their said if do will each about how up out them then she many some so "
    "these would other into has more her two like him see time could no make than first been its who now people my "
    "made over did down only way find use may water long little very after words called just where most know"
).split()


MEMORY_CHARACTERS = 80


def prose(characters, seed):
    """Plain text of about this length; the same for the same seed."""
    chance = random.Random(seed)
    text = ""
    while len(text) < characters:
        text += " ".join(chance.choice(WORDS) for _ in range(chance.randint(6, 14))).capitalize() + ". "
    return text[:characters].rstrip()


class Model:
    """What every call was sent, in order."""

    def __init__(self, answer_characters, summary_characters):
        self.answer_characters = answer_characters
        self.summary_characters = summary_characters
        self.calls = []
        self.lock = threading.Lock()

    def respond(self, request):
        return 200, self.answer(request["messages"])

    def answer(self, messages):
        prompt = [(message["role"], message.get("content") or "") for message in messages]
        is_fold = any(text.startswith("<previous_summary>") for _, text in prompt)
        is_lesson = any(text.startswith("<remembered>") for _, text in prompt)
        with self.lock:
            self.calls.append(Call(prompt, is_fold, is_lesson))
            number = len(self.calls)
        if is_fold:
            summary = prose(self.summary_characters, f"summary {number}")
            return json.dumps({"summary": summary, "topics": ["one", "two"]})
        if is_lesson:
            memory = prose(MEMORY_CHARACTERS, " ".join(text for _, text in prompt))
            return json.dumps({"operations": [{"op": "add", "memory": memory, "topics": ["one"], "turns": [1]}]})
        return prose(self.answer_characters, f"answer {number}")

    def take(self):
        """The calls since this was asked last."""
        with self.lock:
            calls, self.calls = self.calls, []
        return calls


class Call:
    def __init__(self, prompt, is_fold, is_lesson):
        self.is_fold, self.is_lesson = is_fold, is_lesson
        # As a provider's cache sees it: one text.
        self.text = "".join(f"[{role}]{text}" for role, text in prompt)


def serve(model, port):
    """Serves on a thread of its own what `model.respond` says to a request: a status and a text."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Header and body are two writes; the second would wait for the other end's delayed acknowledgement.
        disable_nagle_algorithm = True

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, text = model.respond(request)
            answer = {
                "id": "chatcmpl-bench",
                "object": "chat.completion",
                "model": request["model"],
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
            body = json.dumps(answer if status == 200 else {"error": {"message": text}}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
