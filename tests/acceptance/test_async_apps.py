"""Test async applications on a real ASGI server: FastAPI and Django, with events while a run goes on."""

from __future__ import annotations

import json
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest
from example_project import ExampleProject
from tcp_proxies import TcpProxy

URLS = [f"https://{name}.example/" for name in "abc"]


class AsyncSite(ExampleProject):
    """An example on uvicorn, with this package as a wheel."""

    def __init__(self, example, app, ready, *arguments, **environment):
        super().__init__(example, *arguments, **environment)
        self.app, self.ready = app, ready

    def serve(self):
        return super().serve("-m", "uvicorn", self.app, "--port", address="{port}", ready=self.ready)


@pytest.fixture
def api(users_python, pipeline):
    with AsyncSite("fastapi", "shop_api:app", "/docs", users_python, pipeline) as one:
        one.pipeline.work(python=users_python, **one.environment)
        yield one


@pytest.fixture
def site(users_python, pipeline):
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings", "DJANGO_DATABASE": "db.sqlite3"}
    with AsyncSite("django", "config.asgi:application", "/", users_python, pipeline, **settings) as one:
        one.run("manage.py", "migrate", "-v0")
        one.work("config")
        yield one


def read_events(client, path):
    with client.stream("GET", path, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line:
                yield json.loads(line.removeprefix("data: "))


@pytest.mark.long
@pytest.mark.parametrize("name", ["api", "site"])
def test_progress_comes_as_events_while_the_run_goes_on(name, request):
    project, prefix = request.getfixturevalue(name), {"api": "", "site": "/api"}[name]
    project.pipeline.sandbox.configure(task_seconds=1.5)
    with httpx.Client(base_url=project.serve()) as client:
        client.get(project.ready)  # Django's form sets the cookie of its token
        client.headers["X-CSRFToken"] = client.cookies.get("csrftoken", "")
        started = client.post(f"{prefix}/runs", json=URLS)
        assert started.status_code == 202, started.text
        run_id = started.json()["run_id"]
        events = read_events(client, f"{prefix}/runs/{run_id}/events")
        first = next(events)
        assert not first["has_ended"], "the first event comes at once, and not with the last one"
        *_, last = events
        assert (last["state"], last["done"], last["total"]) == ("succeeded", 3, 3)
        assert client.get(f"{prefix}/runs/none/events").status_code == 404
        assert client.post(f"{prefix}/runs", json=["nonsense"]).status_code == 400
    assert project.pipeline.posts() == 1


def test_one_key_is_bought_once_and_pages_are_streamed(api):
    with httpx.Client(base_url=api.serve(), timeout=60) as client:
        headers = {"Idempotency-Key": "order-1"}
        ids = {client.post("/runs", json=URLS, headers=headers).json()["run_id"] for _ in range(2)}
        assert len(ids) == 1
        [run_id] = ids
        assert client.get(f"/runs/{run_id}/result").json() == {"pages": 3}
        pages = [json.loads(line) for line in client.get(f"/runs/{run_id}/pages").text.splitlines()]
        assert [page["url"] for page in pages] == URLS
        assert all(page["content"] for page in pages)
        assert client.get(f"/runs/{run_id}").json()["state"] == "succeeded"
        assert client.delete(f"/runs/{run_id}").json() == {"canceled": False}
        slow = client.post("/runs", json=["https://slow.example/?seconds=600"]).json()["run_id"]
        assert client.get(f"/runs/{slow}/pages").status_code == 409
        assert client.delete(f"/runs/{slow}").json() == {"canceled": True}
        *_, last = read_events(client, f"/runs/{slow}/events")
        assert last["state"] == "canceled"


@pytest.fixture
def tcp_proxy(server_url):
    with TcpProxy(urlsplit(server_url).port) as proxy:
        yield proxy


def test_loop_serves_others_while_the_store_hangs(api, tcp_proxy, server_url):
    """Check that no call blocks the event loop: the loop answers while 20 calls wait for a silent store."""
    port = urlsplit(server_url).port
    api.environment["SCRAPE_DO_REDIS_URL"] = server_url.replace(f":{port}", f":{tcp_proxy.port}")
    url = api.serve()
    assert httpx.post(f"{url}/runs", json=URLS).status_code == 202
    tcp_proxy.silence()
    calls = [threading.Thread(target=try_to_start, args=(url, n), daemon=True) for n in range(20)]
    for call in calls:
        call.start()
    time.sleep(0.5)
    answers = [httpx.get(f"{url}/docs", timeout=10).elapsed.total_seconds() for _ in range(20)]
    assert sorted(answers)[10] < 0.5, "half of the requests would wait if a call blocked the loop"
    assert any(call.is_alive() for call in calls), "the calls were still waiting for the store"
    tcp_proxy.speak()


def try_to_start(url, number):
    with httpx.Client(timeout=120) as client:
        client.post(f"{url}/runs", json=[f"https://{number}.example/"])
