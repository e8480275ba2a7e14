#!/usr/bin/env python3
"""Opens pages of this and of other sites in Chromium and compares what they can do to the server with what they may.

    drive.py URL    of a server with an agent `assistant`, which nobody else uses
"""

import contextlib
import http.server
import json
import os
import shutil
import sys
import threading
import urllib.request

from playwright.sync_api import Error, sync_playwright

# Names that the browser believes to be elsewhere. All of them lead to this machine.
FOREIGN, REBOUND = "evil.test", "rebound.test"
RUNS = "/agents/assistant/runs"
FORM = "message=hi&stream=false"

POST_FORM = """([url, body]) => fetch(url, {method: 'POST', mode: 'no-cors', body,
    headers: {'content-type': 'application/x-www-form-urlencoded'}}).then(response => response.type, error => 'failed')"""
READ = "url => fetch(url).then(async response => [response.status, await response.text()], error => [0, 'failed'])"
LOOK = "url => fetch(url, {mode: 'no-cors'}).then(response => response.type, error => 'failed')"
POST_JSON = """url => fetch(url, {method: 'POST', body: JSON.stringify({message: 'My name is Ada'}),
    headers: {'content-type': 'application/json'}}).then(response => response.json(), error => String(error))"""
SUBMIT = """([url, type]) => {
    const form = document.createElement('form');
    Object.assign(form, {action: url, method: 'POST', enctype: type});
    for (const [name, value] of [['message', 'hi'], ['stream', 'false']])
        form.append(Object.assign(document.createElement('input'), {name, value}));
    document.body.append(form);
    form.submit();
}"""
LINK = "url => { const a = document.createElement('a'); a.href = url; a.textContent = 'link'; document.body.append(a); a.click(); }"
FRAME = "url => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame); }"


class Page(http.server.BaseHTTPRequestHandler):
    """The same empty page under every name."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A page</title><body>A page</body>")

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def pages():
    """The port of a server with pages."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


class Tries:
    def __init__(self, url, page, port):
        self.url, self.page, self.port = url, page, port
        self.server_port = url.rpartition(":")[2]
        self.statuses, self.complaints = {}, []
        page.on("response", lambda response: self.statuses.__setitem__(response.url, response.status))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)

    def open(self, host):
        self.page.goto(f"http://{host}:{self.port}/")

    def count_sessions(self):
        with urllib.request.urlopen(f"{self.url}/sessions") as answer:
            return json.load(answer)["meta"]["total_count"]

    # --- Pages of other sites

    def a_foreign_form_is_not_carried_out(self):
        for enctype in ("application/x-www-form-urlencoded", "multipart/form-data"):
            self.open(FOREIGN)
            with self.page.expect_navigation():
                self.page.evaluate(SUBMIT, [self.url + RUNS, enctype])
            expect(f"the status of a form as {enctype}", self.statuses[self.url + RUNS], 403)
            expect("sessions", self.count_sessions(), 0)

    def a_foreign_script_starts_no_run(self):
        self.open(FOREIGN)
        self.page.evaluate(POST_FORM, [self.url + RUNS, FORM])
        expect("the status", self.statuses.get(self.url + RUNS), 403)
        expect("the answer to JSON", self.page.evaluate(POST_JSON, self.url + RUNS), "TypeError: Failed to fetch")
        expect("sessions", self.count_sessions(), 0)

    def a_foreign_script_reads_nothing(self):
        self.open(FOREIGN)
        path = f"{self.url}/sessions"
        expect("what it reads", self.page.evaluate(READ, path), [0, "failed"])
        self.page.evaluate(LOOK, path)
        expect("the status of a request that it cannot read", self.statuses[path], 403)

    def a_foreign_page_cannot_frame_the_documentation(self):
        self.open(FOREIGN)
        self.page.evaluate(FRAME, f"{self.url}/docs/")
        self.page.wait_for_load_state("networkidle")
        expect("the frame's status", self.statuses[f"{self.url}/docs/"], 403)

    def not_even_a_page_of_this_machine_can_frame_the_documentation(self):
        self.open("127.0.0.1")
        self.page.evaluate(FRAME, f"{self.url}/docs/")
        self.page.wait_for_load_state("networkidle")
        expect("the frame's elements", self.page.frames[-1].locator(".swagger-ui").count(), 0)
        expect_that("a complaint about the frame", any("frame" in it for it in self.complaints), self.complaints)

    def a_rebound_name_reads_nothing(self):
        # The attacker's name leads to this machine by now, and its page asks the server that it came from, as it believes.
        site = f"http://{REBOUND}:{self.server_port}"
        for path in ("/docs/", "/sessions"):
            expect(f"the status of {path}", self.page.goto(site + path).status, 421)
        status, text = self.page.evaluate(READ, f"{site}/sessions")
        expect("the status of what it reads", status, 421)
        expect_that("the setting's name", "server.allowed_hosts" in text, text)
        self.page.evaluate(POST_FORM, [site + RUNS, FORM])
        expect("the status of a form", self.statuses[site + RUNS], 421)
        expect("sessions", self.count_sessions(), 0)

    # --- Those that may

    def a_link_from_a_foreign_page_opens_the_documentation(self):
        self.open(FOREIGN)
        with self.page.expect_navigation():
            self.page.evaluate(LINK, f"{self.url}/docs")
        self.page.wait_for_selector(".opblock")

    def the_documentation_works_and_calls_the_server(self):
        self.complaints.clear()
        self.page.set_viewport_size({"width": 1200, "height": 1600})
        self.page.goto(f"{self.url}/docs/")
        self.page.wait_for_selector(".opblock")
        if screenshot := os.environ.get("SCREENSHOT"):
            self.page.screenshot(path=screenshot)
        health = self.page.locator("#operations-Service-get_health")
        health.locator(".opblock-summary-control").click()
        health.locator(".try-out__btn").click()
        health.locator(".execute").click()
        health.locator(".live-responses-table").wait_for()
        expect_that("`ok` from /health", '"ok"' in health.locator(".live-responses-table").inner_text(), health.inner_text())
        expect("complaints", self.complaints, [])

    def a_page_of_this_machine_runs_and_reads(self):
        for host in ("localhost", "127.0.0.1"):
            self.open(host)
            run = self.page.evaluate(POST_JSON, self.url + RUNS)
            expect_that("a completed run", isinstance(run, dict) and run["status"] == "COMPLETED", run)
            status, text = self.page.evaluate(READ, f"{self.url}/sessions/{run['session_id']}")
            expect_that("its session", status == 200 and run["session_id"] in text, (status, text))

    def all(self):
        # Those that must change nothing come first.
        return [
            self.a_foreign_form_is_not_carried_out,
            self.a_foreign_script_starts_no_run,
            self.a_foreign_script_reads_nothing,
            self.a_foreign_page_cannot_frame_the_documentation,
            self.not_even_a_page_of_this_machine_can_frame_the_documentation,
            self.a_rebound_name_reads_nothing,
            self.a_link_from_a_foreign_page_opens_the_documentation,
            self.the_documentation_works_and_calls_the_server,
            self.a_page_of_this_machine_runs_and_reads,
        ]


class Unexpected(Exception):
    pass


def expect(what, found, wanted):
    expect_that(f"{what} to be {wanted!r}", found == wanted, found)


def expect_that(what, holds, found):
    if not holds:
        raise Unexpected(f"expected {what}, found {str(found)[:500]!r}")


def main():
    url, failed = sys.argv[1], 0
    with sync_playwright() as playwright, pages() as port:
        # Tests in containers run as root, which Chromium's sandbox does not allow.
        arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1, MAP {REBOUND} 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        print(f"Chromium {browser.version}")
        for number in range(len(Tries.all(Tries(url, browser.new_page(), port)))):
            page = browser.new_page()
            page.set_default_timeout(20_000)
            try_out = Tries(url, page, port).all()[number]
            name = try_out.__name__.replace("_", " ")
            try:
                try_out()
                print(f"ok      {name}")
            except (Unexpected, Error, KeyError) as error:
                failed += 1
                print(f"FAILED  {name}: {error!s:.600}")
            page.close()
        browser.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
