"""A real Django project, with its own `config` and `tasks`: the app in `INSTALLED_APPS` is all that it takes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "django"


class Project:
    """The example, copied, with a database, a worker and a web process of its own."""

    def __init__(self, pipeline, folder):
        self.pipeline, self.folder = pipeline, folder
        shutil.copytree(EXAMPLE, folder)
        server = pipeline.values["redis_url"].rpartition("/")[0]
        self.environment = {
            **pipeline.environment,
            "PYTHONPATH": str(folder),
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DJANGO_DATABASE": str(folder / "db.sqlite3"),
            "REDIS_URL": server,
        }
        self.manage("migrate", "-v0")

    def manage(self, *arguments, code=0, **environment):
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def shell(self, script):
        """What a script prints in the project, as JSON."""
        return json.loads(self.manage("shell", "-v0", "-c", script).splitlines()[-1])

    def work(self):
        self.pipeline.folder = self.folder
        return self.pipeline.work(app="config", **self.environment)

    def serve(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
        with (self.folder / "web.log").open("wb") as log:
            self.web = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        return f"http://127.0.0.1:{port}"

    def stop(self):
        if web := getattr(self, "web", None):
            os.killpg(web.pid, signal.SIGTERM)
            web.wait(20)


@pytest.fixture
def project(pipeline, tmp_path):
    one = Project(pipeline, tmp_path / "project")
    yield one
    one.stop()


def test_a_form_starts_a_scrape_and_shows_its_progress(project, eventually):
    project.work()
    site = project.serve()
    urls = [f"https://{name}.example/" for name in "abc"]
    with httpx.Client(base_url=site, follow_redirects=True, transport=httpx.HTTPTransport(retries=10)) as client:
        form = eventually(lambda: _reached(client))
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text).group(1)
        bad = client.post("/", data={"urls": "not an address", "csrfmiddlewaretoken": token})
        assert bad.status_code == 400
        assert "targets[0]" in bad.text
        page = client.post("/", data={"urls": "\n".join(urls), "csrfmiddlewaretoken": token})
        assert page.status_code == 200
        status = f"{page.url.path}status"
        eventually(lambda: len(client.get(status).json().get("titles", ())) == 3)
        found = client.get(status).json()
    assert (found["state"], found["done"], found["total"]) == ("succeeded", 3, 3)
    assert sorted(row["url"] for row in found["titles"]) == urls
    assert project.pipeline.posts() == 1
    eventually(lambda: project.shell(MIRRORED) == [[found["run_id"], "succeeded", 3, 3]])


MIRRORED = """
import json
from scrape_do_celery.contrib.django.models import ScrapeRun
print(json.dumps(list(ScrapeRun.objects.values_list("run_id", "state", "done", "total"))))
"""


def _reached(client):
    try:
        return client.get("/")
    except httpx.ConnectError:
        return None


ROLLBACK = """
import json
from django.db import transaction
from scrape_do_celery import RunHandle, RunNotFoundError, enqueue
found = {}
try:
    with transaction.atomic():
        gone = enqueue(["https://gone.example/"])
        raise KeyError
except KeyError:
    pass
try:
    gone.state
except RunNotFoundError:
    found["rolled back"] = "never written"
with transaction.atomic():
    kept = enqueue(["https://kept.example/"], idempotency_key="once")
    same = enqueue(["https://kept.example/"], idempotency_key="once")
    try:
        kept.state
    except RunNotFoundError:
        found["before"] = "not yet"
found["after"] = len(kept.result(timeout=60).tasks)
with transaction.atomic():
    found["key"] = enqueue(["https://kept.example/"], idempotency_key="once").run_id == kept.run_id
print(json.dumps(found))
"""


def test_what_is_rolled_back_is_not_bought(project):
    project.work()
    assert project.shell(ROLLBACK) == {"rolled back": "never written", "before": "not yet", "after": 1, "key": True}
    assert project.pipeline.posts() == 1


def test_commands(project, eventually):
    project.work()
    run_id = project.manage("scrape_do_enqueue", "https://a.example/", "--geo-code", "us").strip()
    eventually(lambda: "succeeded" in project.manage("scrape_do_status", run_id))
    assert "No such" not in project.manage("scrape_do_status", "nothing", code=1)
    assert "geo" in project.manage("scrape_do_enqueue", "https://a.example/", "--geo-code", "usa", code=1)


def test_check_names_a_wrong_key(project):
    settings = project.folder / "config" / "settings.py"
    settings.write_text(settings.read_text() + '\nSCRAPE_DO |= {"REDIS_ULR": "x", "queue": "q", "LEASE_SECONDS": -1}\n')
    said = project.manage("check", code=1)
    assert "SCRAPE_DO['REDIS_ULR']: unknown argument; did you mean redis_url?" in said
    assert "SCRAPE_DO['queue']: keys are in capitals: QUEUE" in said
    assert "SCRAPE_DO['LEASE_SECONDS']" in said
