"""What is asked, and how long the answers take."""

import http.client
import json
import pathlib
import random
import subprocess
import tempfile
import urllib.parse

SCRIPT = pathlib.Path(__file__).resolve().parent / "paths.lua"
# Paths that are drawn for a measurement; one with more requests goes round.
DIFFERENT = 5_000


def requests(sessions, user_count):
    """Named makers of paths. Each call draws other values, so that no answer is the last one again."""

    def number():
        return random.randrange(1, sessions + 1)

    def user():
        return f"user-{random.randrange(10, user_count)}"

    def listing(**query):
        return "/sessions?" + urllib.parse.urlencode({"include_total": "false", **query})

    def start():
        day = random.randrange(290)
        return 1767225600 + day * 86400

    return {
        "first page": lambda: listing(),
        "first page with its total": lambda: "/sessions",
        "user": lambda: listing(user_id=user()),
        "user with its total": lambda: f"/sessions?user_id={user()}",
        "a user with many": lambda: listing(user_id=f"user-{random.randrange(10)}"),
        "component": lambda: listing(component_id=f"agent-{random.randrange(200)}"),
        "type": lambda: listing(type="workflow"),
        "created": lambda: listing(start_timestamp=(at := start()), end_timestamp=at + 86400),
        "updated": lambda: listing(updated_after=(at := start()), updated_before=at + 86400, sort_by="updated_at"),
        "archived": lambda: listing(archived="true"),
        "pinned": lambda: listing(pinned="true"),
        "metadata": lambda: listing(**{"metadata.ticket": number() // 3 * 3}),
        "metadata that one in a hundred has": lambda: listing(**{"metadata.region": random.randrange(33)}),
        "metadata that many have": lambda: listing(**{"metadata.plan": "pro"}),
        "name": lambda: listing(session_name=f"{random.getrandbits(20):05x}"),
        "name that many have": lambda: listing(session_name="holidays"),
        "sorted by name": lambda: listing(sort_by="session_name"),
        "user, type, component, updated": lambda: listing(
            user_id=user(), type="agent", component_id=f"agent-{random.randrange(200)}", sort_by="updated_at"
        ),
        "search: a rare word": lambda: listing(q=f"w{random.randrange(2000, 20000)}"),
        "search: two words": lambda: listing(q=f"w{random.randrange(2000)} talk"),
        "search: a word in every tenth message": lambda: listing(q="everyday"),
        "search of a user": lambda: listing(user_id=user(), q=f"w{random.randrange(2000)}"),
        "a session": lambda: f"/sessions/session-{number()}",
        "nothing (GET /health)": lambda: "/health",
    }


def measure(address, make, connections, seconds):
    """p50 and p99 in milliseconds of requests made for so long, so many at a time."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as paths:
        paths.writelines(make() + "\n" for _ in range(DIFFERENT))
        paths.flush()
        command = ["wrk", "--threads", "1", "--connections", str(connections), "--timeout", "30s"]
        command += ["--duration", f"{seconds}s", "--script", SCRIPT, f"http://{address}", "--", paths.name]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result = json.loads(next(line for line in output.splitlines() if line.startswith("RESULT ")).removeprefix("RESULT "))
    if result["errors"] > 0:
        raise SystemExit(f"{make()}, or one like it, was not answered with 200:\n{output}")
    return result["p50"], result["p99"]


def deep_cursors(address, pages):
    """Cursors of a walk through the list, a hundred at a time."""
    connection = http.client.HTTPConnection(address)
    cursors, cursor = [], ""
    for _ in range(pages):
        connection.request("GET", f"/sessions?limit=100&include_total=false&cursor={cursor}")
        cursor = json.loads(connection.getresponse().read())["meta"].get("next_cursor")
        if cursor is None:
            break
        cursors.append(cursor)
    return cursors
