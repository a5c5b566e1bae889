"""Test docker-compose.yml: its services start on this machine, from images built by the steps of the Dockerfile."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from compose_services import ComposeServices
from dockerfile import ImageFolders

from scrape_do_celery import RunHandle, Settings, enqueue

#: In place of .env. Short poll intervals are the only difference from `docker compose --profile sandbox up`.
VARIABLES = {"SCRAPE_DO_POLL_INITIAL_INTERVAL": "0.2", "SCRAPE_DO_POLL_MAX_INTERVAL": "1"}
APPLICATION = ["sandbox", "worker", "beat", "flower", "django", "django-worker"]


@pytest.fixture
def stack(tmp_path):
    with ComposeServices(ImageFolders(tmp_path / "images"), tmp_path / "run", VARIABLES) as one:
        yield one


@pytest.mark.long
def test_one_up_gives_the_demo(stack, eventually):
    """Start all services once, and run the checks of the whole module in one test, because a start is expensive."""
    stack.images.folder.mkdir()
    assert stack.health("redis") != 0
    stack.up("redis")
    stack.wait("redis")
    refuses_without_a_sandbox(stack)
    reads_its_broker_from_a_secret(stack, "beat")
    for name in APPLICATION:
        stack.up(name)
    before = files(stack)
    for name in APPLICATION:
        stack.wait(name)
    assert "pages are made up, and nothing is bought" in stack.said("worker")

    doctor = stack.execute("worker", "scrape-do", "doctor", "--strict")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr

    assert stack.run("demo") == 0, stack.said("demo") + stack.said("worker")
    for line in (
        r"/catalogue +success +200",
        r"/no-such-page\?status=404 +success +404",
        r"\d titles saved in .+/titles/[0-9a-f-]+\.json",
        r"raised +JobFailedError",
    ):
        assert re.search(line, stack.said("demo")), f"{line}\n{stack.said('demo')}"
    flower_wants_its_password(stack)
    a_form_of_django_scrapes(stack, eventually)
    an_outage_of_the_api_is_no_fault_of_a_workers(stack)
    assert "[ERROR]" not in stack.said("django")

    # The services write to volumes only: the images are read-only.
    assert files(stack) == before
    store = Settings(redis_url=f"redis://127.0.0.1:{stack.port(6379)}/0")
    kept = enqueue(["https://kept.example/"], settings=store)
    kept.result(timeout=60)
    codes = of_all(stack.stop)
    assert set(codes.values()) == {0}, {name: stack.said(name)[-2000:] for name in codes if codes[name]}
    assert 0 not in of_all(stack.health).values()
    assert stack.stop("redis") == 0
    stack.up("redis")
    stack.wait("redis")
    assert RunHandle(kept.run_id, settings=store).state == "succeeded"


def refuses_without_a_sandbox(stack):
    """Run `docker compose up` without the profile and without the real service: a line says what to do."""
    stack.start("worker")
    assert stack.processes.pop("worker").wait(60) == 1
    assert "docker compose --profile sandbox up" in stack.said("worker")
    assert stack.run("demo") == 2
    assert "Nothing was bought" in stack.said("demo")
    stack.log("demo").write_text("")


def reads_its_broker_from_a_secret(stack, name):
    """Let the service read its broker's URL from a secret from now on, in the command and in the health check."""
    folder = stack.folder / "secrets"
    folder.mkdir()
    (folder / "scrape_do_redis_url").write_text(f"redis://127.0.0.1:{stack.port(6379)}/0\n")
    stack.services[name]["environment"] |= {"SCRAPE_DO_REDIS_URL": "redis://127.0.0.1:1/0", "SECRETS_DIR": str(folder)}


def flower_wants_its_password(stack):
    address = f"http://127.0.0.1:{stack.port(5555)}"
    [made_up] = re.findall(r"user and password of this start are flower:(\S+)", stack.said("flower"))
    for path in ("/", "/api/tasks"):
        assert httpx.get(address + path).status_code == 401
        assert httpx.get(address + path, auth=("flower", "flower")).status_code == 401
        assert httpx.get(address + path, auth=("flower", made_up), follow_redirects=True).status_code == 200
    names = {task["name"] for task in httpx.get(f"{address}/api/tasks", auth=("flower", made_up)).json().values()}
    assert {"scrape_do.submit_jobs", "app.save_titles"} <= names


def a_form_of_django_scrapes(stack, eventually):
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.port(8000)}", follow_redirects=True) as client:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/").text).group(1)
        form = {"urls": "https://a.example/\nhttps://b.example/", "csrfmiddlewaretoken": token}
        page = client.post("/", data=form)
        assert page.status_code == 200, page.text
        # Django's admin styles are served, although a WSGI server serves no files by itself.
        assert client.get("/static/admin/css/base.css").status_code == 200
        status = f"{page.url.path}status"
        eventually(lambda: len(client.get(status).json().get("titles", ())) == 2)
        assert client.get(status).json()["state"] == "succeeded"


def an_outage_of_the_api_is_no_fault_of_a_workers(stack):
    stack.stop("sandbox")
    assert [stack.health(name) for name in ("worker", "django-worker")] == [0, 0]
    stack.up("sandbox")
    stack.wait("sandbox")


def of_all(act):
    """Carry out an action on all services at once. Return the results by service."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(APPLICATION, pool.map(act, APPLICATION), strict=True))


def files(stack):
    return sorted(path for name in ("app", "demo", "django") for path in (stack.images.root(name) / "app").rglob("*"))
