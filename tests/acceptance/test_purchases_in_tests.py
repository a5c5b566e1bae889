"""Check that tests of applications buy nothing: real runners, against a store that a worker serves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from example_project import EXAMPLES, ExampleProject

SRC = str(Path(__file__).parents[2] / "src")

DJANGO_TESTS = """
from django.test import TestCase, TransactionTestCase
from pages.models import Title
from scrape_do_celery import ConfigurationError, RunHandle, enqueue
from scrape_do_celery.contrib.django.test import ScrapeDoMixin

URL = "https://a.example/"

class Forgetful(TestCase):
    def test_view(self):
        with self.captureOnCommitCallbacks(execute=True):
            with self.assertRaisesRegex(ConfigurationError, "ScrapeDoMixin.*contrib.django.test"):
                self.client.post("/", {"urls": URL})

    def test_celery_task(self):
        from scrape_do_celery.tasks import scrape
        with self.assertRaisesRegex(ConfigurationError, "Django's test runner"):
            scrape.delay(targets=[URL])

    async def test_async_view(self):
        with self.assertRaisesRegex(ConfigurationError, "Django's test runner"):
            await self.async_client.post("/api/runs", data=[URL], content_type="application/json")

class InATransaction(ScrapeDoMixin, TestCase):
    def test_view(self):
        with self.captureOnCommitCallbacks(execute=True):
            page = self.client.post("/", {"urls": URL})
        assert RunHandle(page.url.split("/")[2]).state == "queued"

    def test_worker_would_see_no_rows(self):
        with self.assertRaisesRegex(ConfigurationError, "TransactionTestCase"):
            self.start_scrape_do_worker()

class Whole(ScrapeDoMixin, TransactionTestCase):
    def test_view(self):
        self.start_scrape_do_worker()
        self.scrape_do_sandbox.page("a.example", "<title>Hello</title>")
        self.client.post("/", {"urls": URL})
        self.scrape_do_clock.forward(60)
        assert Title.objects.get().text == "Hello"
        assert len(self.scrape_do_sandbox.jobs()) == 1

class NextOne(ScrapeDoMixin, TransactionTestCase):
    scrape_do_options = {"max_active_jobs": 1}

    def test_is_empty(self):
        assert self.scrape_do_sandbox.jobs() == []
        assert self.scrape_do_settings.max_active_jobs == 1
"""

PYTEST_TESTS = """
import os, subprocess, sys
import pytest
from scrape_do_celery import ConfigurationError, Settings, enqueue
from scrape_do_celery.tasks import scrape

URLS = ["https://a.example/"]

def test_forgetful():
    for call in (lambda: enqueue(URLS), lambda: scrape.delay(targets=URLS), lambda: enqueue(URLS, settings=Settings())):
        with pytest.raises(ConfigurationError, match="this is a test run .pytest"):
            call()

def test_fixture(scrape_do_settings):
    assert enqueue(URLS).state == "queued"

def test_other_store_beside_the_fixture(scrape_do_settings):
    with pytest.raises(ConfigurationError, match="nobody gave it the store"):
        enqueue(URLS, settings=Settings(key_prefix="development"))

def test_own_store(monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_TEST_REDIS_URL", os.environ["SCRAPE_DO_REDIS_URL"])
    assert enqueue(URLS, settings=Settings(key_prefix=os.environ["SCRAPE_DO_KEY_PREFIX"] + "own")).state == "queued"
    monkeypatch.setenv("SCRAPE_DO_TEST_REDIS_URL", "redis://elsewhere.example/0")
    with pytest.raises(ConfigurationError):
        enqueue(URLS)

def test_process_of_the_application():
    prefix = os.environ["SCRAPE_DO_KEY_PREFIX"] + "child"
    code = "from scrape_do_celery import enqueue; print(enqueue(['https://a.example/']).state)"
    environment = {**os.environ, "SCRAPE_DO_KEY_PREFIX": prefix}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip() == "queued"
"""

FLASK_TESTS = """
import unittest
from scrape_do_celery import ConfigurationError, RunHandle
from scrape_do_celery.testing import ScrapeDoMixin
from shop import create_app

class Forgetful(unittest.TestCase):
    def test_view(self):
        app = create_app()
        app.config["TESTING"] = True
        with self.assertRaisesRegex(ConfigurationError, "RUNNER"):
            app.test_client().post("/", data={"urls": "https://a.example/"})

class Whole(ScrapeDoMixin, unittest.TestCase):
    def find_scrape_do_app(self):
        self.app = create_app()
        self.app.testing = True
        return self.app.extensions["celery"]

    def test_view(self):
        self.start_scrape_do_worker()
        page = self.app.test_client().post("/", data={"urls": "https://a.example/"}).location
        self.scrape_do_clock.forward(60)
        assert self.app.test_client().get(f"{page}status").json["state"] == "succeeded"

if __name__ == "__main__":
    unittest.main()
"""


@pytest.fixture
def play(pipeline):
    """Return a function that runs a test run in a folder, with a worker of its default store beside it."""
    pipeline.work()

    def play_tests(folder, *arguments):
        path = os.pathsep.join([SRC, str(folder)])
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env={**pipeline.environment, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert pipeline.posts() == 0, "the worker of the default store bought nothing"
        return done.stdout + done.stderr

    return play_tests


@pytest.mark.long
def test_django_test_runner(users_python, pipeline, eventually):
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings", "DJANGO_DATABASE": "db.sqlite3"}
    with ExampleProject("django", users_python, pipeline, **settings) as project:
        project.run("manage.py", "migrate", "-v0")
        project.work("config")
        (project.folder / "pages" / "tests.py").write_text(DJANGO_TESTS)
        project.run("manage.py", "test", "pages")
    assert pipeline.posts() == 0
    left = [key for key in pipeline.stored_keys() if ":run:" in key]
    assert left == [], "nothing was written to the development store"


def test_pytest(play, pipeline, tmp_path):
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_it.py").write_text(PYTEST_TESTS)
    assert "5 passed" in play(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert [key for key in pipeline.stored_keys() if ":run:" in key] == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "runner"),
    [(("-m", "unittest", "-q", "test_shop"), "unittest"), (("test_shop.py",), "Flask's TESTING")],
    ids=["unittest", "script"],
)
def test_flask(play, tmp_path, arguments, runner):
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "shop").symlink_to(EXAMPLES / "flask" / "shop")
    (folder / "test_shop.py").write_text(FLASK_TESTS.replace("RUNNER", runner))
    assert "Ran 2 tests" in play(folder, *arguments)
