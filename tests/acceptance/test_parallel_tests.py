"""Test `manage.py test --parallel` of a real Django project: each process has its own servers, and none buys."""

from __future__ import annotations

import os
import socket

import pytest
from example_project import ExampleProject

from tests.support.redis_servers import get_valkey

TESTS = """
import os
from django.test import TestCase, TransactionTestCase
from pages.models import Title
from scrape_do_celery import ConfigurationError, RunHandle, enqueue
from scrape_do_celery.contrib.django.test import ScrapeDoMixin

URL = "https://a.example/"

def note_process(test):
    with open("processes.log", "a") as log:
        servers = test.scrape_do_settings.redis_url if isinstance(test, ScrapeDoMixin) else ""
        log.write(f"{os.getpid()} {servers}\\n")

class Forgetful(TestCase):
    def test_view(self):
        note_process(self)
        with self.captureOnCommitCallbacks(execute=True):
            with self.assertRaisesRegex(ConfigurationError, "Django's test runner"):
                self.client.post("/", {"urls": URL})
        with self.assertRaisesRegex(ConfigurationError, "Django's test runner"):
            enqueue([URL])

class Whole(ScrapeDoMixin):
    def test_view(self):
        note_process(self)
        self.start_scrape_do_worker()
        self.scrape_do_sandbox.page("a.example", "<title>Hello</title>")
        self.client.post("/", {"urls": URL})
        self.scrape_do_clock.forward(60)
        assert Title.objects.get().text == "Hello"
        assert len(self.scrape_do_sandbox.jobs()) == 1

class InATransaction(ScrapeDoMixin, TestCase):
    def test_view(self):
        note_process(self)
        with self.captureOnCommitCallbacks(execute=True):
            page = self.client.post("/", {"urls": URL})
        assert RunHandle(page.url.split("/")[2]).state == "queued"

class First(Whole, TransactionTestCase): pass
class Second(Whole, TransactionTestCase): pass
class Third(Whole, TransactionTestCase): pass
"""

#: A project that chooses how its test processes start. Python 3.14 and macOS do not fork by default.
MANAGE = """
import multiprocessing, sys
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv.pop(1))
    execute_from_command_line(sys.argv)
"""


def with_server(folder):
    """Return a search path with a Redis server on it, as on a developer's machine."""
    (folder / "bin").mkdir()
    (folder / "bin" / "valkey-server").symlink_to(get_valkey())
    return os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])


def answers(server):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(server.rpartition(":")[2]))) == 0


@pytest.mark.long
@pytest.mark.parametrize(("method", "is_given"), [("fork", False), ("spawn", False), ("fork", True)])
def test_parallel_processes_buy_nothing(users_python, pipeline, method, is_given):
    """Run the tests on servers of their own, and on the user's server, which the processes share."""
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings", "DJANGO_DATABASE": "db.sqlite3"}
    with ExampleProject("django", users_python, pipeline, **settings) as project:
        project.run("manage.py", "migrate", "-v0")
        project.work("config")
        (project.folder / "pages" / "tests.py").write_text(TESTS)
        (project.folder / "manage_by.py").write_text(MANAGE)
        given = {} if is_given else {"SCRAPE_DO_REDIS_URL": "", "PATH": with_server(project.folder)}
        said = project.run("manage_by.py", method, "test", "pages", "--parallel", "2", **given)
        lines = (project.folder / "processes.log").read_text().splitlines()
    processes = {line.split()[0] for line in lines}
    servers = {line.split()[1].rpartition("/")[0] for line in lines if " redis" in line}
    assert (len(lines), len(processes), len(servers)) == (5, 2, 1 if is_given else 2), said
    assert pipeline.posts() == 0
    assert [key for key in pipeline.stored_keys() if ":run:" in key] == [], "the development store stays empty"
    assert {answers(server) for server in servers} == {is_given}, "no server of the tests is left behind"
