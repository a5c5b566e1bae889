from __future__ import annotations

import base64
import hashlib
import http.server
import socket
import threading
import time
from contextlib import closing, suppress

import httpx
import pytest
from time_limits import wait_for_answer

from scrape_do_celery.models import TaskDetails
from scrape_do_sandbox import SandboxThread

TERMINAL = {"success", "error", "canceled"}
LATIN = "<p>é</p>".encode("latin-1")
PAGES = {
    "/html": ("text/html; charset=utf-8", "<p>Grüße 🙂 \u2028</p>".encode()),
    "/json": ("application/json", b'{"a": [1, 2]}'),
    "/latin": ("text/html; charset=iso-8859-1", LATIN),
    "/broken": ("text/html; charset=utf-8", LATIN),
    "/odd": ("text/html; charset=no-such-thing", LATIN),
    "/png": ("image/png", bytes(range(256)) * 40),
    "/untyped": ("", b"abc"),
    "/empty": ("image/png", b""),
}


class Site(http.server.BaseHTTPRequestHandler):
    """The site that the sandbox scrapes, and the receiver of its webhooks."""

    seen: list[tuple[str, dict[str, str], bytes]]

    def do_GET(self):
        self.seen.append((self.path, dict(self.headers), self._body()))
        if self.path == "/away":
            return self._answer(302, "text/html", b"", Location="https://a.example/")
        if self.path == "/moved":
            return self._answer(302, "text/html", b"moved", Location="/html", **{"Set-Cookie": "left=over"})
        if self.path == "/late":
            time.sleep(0.6)
        if self.path.startswith("/hook"):
            return self._answer(200, "text/plain", b"")
        kind, body = PAGES.get(self.path, ("text/plain", self.command.encode()))
        return self._answer(404 if self.path == "/missing" else 200, kind, body)

    do_POST = do_PUT = do_GET  # noqa: N815 - http.server requires these names

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status, kind, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        # The sandbox does not wait for a late answer.
        with suppress(BrokenPipeError):
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def site():
    handler = type("Handler", (Site,), {"seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        handler.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield handler
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server():
    with SandboxThread(task_seconds=0.1, webhook_ladder=(0.05, 0.05)) as server:
        yield server


@pytest.fixture
def sandbox(server):
    server.reset()
    return server


@pytest.fixture
def api(sandbox):
    with httpx.Client(base_url=f"{sandbox.url}/api/v1", headers={"X-Token": "secret"}, trust_env=False) as client:
        yield client


def create(api, *targets, **options):
    answer = api.post("/jobs", json={"Targets": list(targets) or ["https://a.example/"], **options})
    assert answer.status_code == 201
    return answer.json()


def finished(api, job_id):
    return wait_for_answer(lambda: api.get(f"/jobs/{job_id}").json(), lambda job: job["Status"] in TERMINAL)


def scraped(api, *targets, **options):
    made = create(api, *targets, **options)
    finished(api, made["JobID"])
    return [api.get(f"/jobs/{made['JobID']}/{task}").json() for task in made["TaskIDs"]]


def content(task):
    return base64.b64decode(task["Content"]) if task["Base64EncodedContent"] else task["Content"].encode()


@pytest.mark.parametrize("path", [path for path in PAGES if path not in {"/latin", "/empty"}])
def test_a_loopback_page_comes_back_byte_for_byte(api, sandbox, site, path):
    [task] = scraped(api, site.url + path)
    assert (task["Status"], task["StatusCode"]) == ("success", 200)
    assert content(task) == PAGES[path][1]
    assert task["Base64EncodedContent"] is (path not in {"/html", "/json"})
    assert sandbox.jobs()[0]["tasks"][0]["sha256"] == hashlib.sha256(PAGES[path][1]).hexdigest()


def test_other_charsets_come_back_as_text(api, site):
    latin, empty = scraped(api, f"{site.url}/latin", f"{site.url}/empty")
    assert (latin["Content"], latin["ResponseHeaders"]["Content-Type"]) == ("<p>é</p>", PAGES["/latin"][0])
    assert (empty["Content"], empty["Base64EncodedContent"]) == ("", False)


def test_the_request_is_made_as_the_job_wants_it(api, site):
    options = {"Method": "PUT", "Body": "bödy", "Headers": {"X-One": "ö", "user-agent": "me"}, "SetCookies": "a=1; b=2"}
    assert scraped(api, f"{site.url}/x", **options)[0]["Content"] == "PUT"
    [(_, headers, body)] = site.seen
    assert (headers["user-agent"], headers["Cookie"], body.decode()) == ("me", "a=1; b=2", "bödy")
    assert headers["X-One"].encode("latin-1").decode() == "ö"
    assert "Accept" in headers
    scraped(api, f"{site.url}/x", ForwardHeaders=True, Headers={"X-Two": "2"})
    assert set(site.seen[1][1]) == {"Host", "X-Two"}


def test_redirects_are_followed_without_cookies_or_not_at_all(api, site):
    [task] = scraped(api, f"{site.url}/moved")
    assert content(task) == PAGES["/html"][1]
    assert all("Cookie" not in headers for _, headers, _ in site.seen)
    [task] = scraped(api, f"{site.url}/moved", DisableRedirection=True)
    assert (task["StatusCode"], task["Content"]) == (302, "moved")


def test_the_url_after_redirects_is_in_the_telemetry(api, site):
    moved, plain = (TaskDetails.from_answer(task) for task in scraped(api, f"{site.url}/moved", f"{site.url}/html"))
    assert (moved.resolved_url, plain.resolved_url) == (f"{site.url}/html", None)


def test_failures_of_real_fetches(api, sandbox, site):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/"
    missing, refusing, away = scraped(api, f"{site.url}/missing", closed, f"{site.url}/away")
    assert (missing["Status"], missing["StatusCode"]) == ("success", 404)
    assert (refusing["Status"], refusing["StatusCode"]) == ("error", 0)
    assert "ConnectError" in refusing["ErrorMessage"]
    assert "only fetches from this machine" in away["ErrorMessage"]
    assert sandbox.stats()["tasks_fetched_once"] == 3


def test_a_target_that_is_too_slow(api, site, server, monkeypatch):
    monkeypatch.setattr("scrape_do_sandbox.fetch._DEFAULT_TIMEOUT_MS", 50)
    [task] = scraped(api, f"{site.url}/late")
    assert (task["Status"], task["ErrorMessage"]) == ("error", "Target did not answer in time")


def test_a_canceled_job_is_not_fetched(api, sandbox, site):
    sandbox.configure(task_seconds=100)
    job = create(api, f"{site.url}/html", WebhookURL=f"{site.url}/hook")["JobID"]
    api.delete(f"/jobs/{job}")
    assert finished(api, job)["Status"] == "canceled"
    wait_for_answer(lambda: site.seen, bool)
    sandbox.advance(200)
    wait_for_answer(lambda: sandbox.stats().get("webhooks_sent"), bool)
    assert [path for path, _, _ in site.seen] == ["/hook"]


def test_page_options_in_made_up_urls(api):
    tasks = scraped(
        api,
        "https://a.example/?sandbox=error",
        "https://a.example/?status=404",
        "https://a.example/?size=200000",
        "https://a.example/?binary=1",
    )
    assert [task["Status"] for task in tasks] == ["error", "success", "success", "success"]
    assert tasks[1]["StatusCode"] == 404
    assert len(tasks[2]["Content"]) == 200_000
    assert len(content(tasks[3])) == 4096


def test_running_fetch_or_webhook_does_not_delay_the_end(site):
    with SandboxThread(task_seconds=0.01) as sandbox:
        with httpx.Client(base_url=f"{sandbox.url}/api/v1", headers={"X-Token": "t"}, trust_env=False) as api:
            create(api, f"{site.url}/late")
        wait_for_answer(lambda: site.seen, bool)
