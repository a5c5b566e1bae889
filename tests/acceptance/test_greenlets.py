"""Test workers whose pool has greenlets: the tasks of a user's project work as they do without this package."""

from __future__ import annotations

import json
import os
import sys

import pytest
from example_project import ExampleProject

TASKS = '''

import asyncio
import os
import sys
import threading

from asgiref.sync import async_to_sync


class ImportWatch:
    """Note the modules that another thread than the main thread imports."""

    found = []

    def find_spec(self, name, path=None, target=None):
        if threading.get_native_id() != os.getpid():
            self.found.append(name)


sys.meta_path.insert(0, ImportWatch())


async def work(seconds):
    await asyncio.sleep(seconds)
    return "done"


@shared_task
def use_asyncio(seconds=0.001):
    return asyncio.run(work(seconds))


@shared_task
def use_sync_wrapper():
    return async_to_sync(work)(0.001)


@shared_task
def use_database():
    Title.objects.create(run_id="own", url=f"https://own.example/{Title.objects.count()}")
    return "done"


@shared_task
def list_late_imports():
    return ImportWatch.found
'''
ONE_AT_A_TIME = """
import json
from scrape_do_celery import enqueue
from tasks.tasks import list_late_imports, save_titles, use_asyncio, use_database, use_sync_wrapper
callback = save_titles.s()
saved = callback.freeze()
run = enqueue(["https://a.example/"], on_success=callback)
run.result(timeout=60)
# The callback of a run begins after its result is there. It is a task of the user like the others below.
assert saved.get(timeout=60) == 1
beside = enqueue([f"https://{name}.example/?seconds=600" for name in "ab"])
found = []
for _ in range(100):
    for task in (use_asyncio, use_database, use_sync_wrapper):
        try:
            found.append(task.delay().get(timeout=30))
        except Exception as error:
            found.append(repr(error))
state = beside.state.value
beside.cancel()
print(json.dumps([found, state, list_late_imports.delay().get(timeout=30)]))
"""
OVERLAPPING = """
import json, time
from tasks.tasks import use_asyncio, use_database
first = use_asyncio.delay(15.0)
time.sleep(2.0)
others = [task.delay() for task in (use_asyncio, use_database) for _ in range(20)]
def outcome(result):
    try:
        return result.get(timeout=60)
    except Exception as error:
        return type(error).__name__
print(json.dumps([outcome(result) for result in [first, *others]]))
"""


class GreenletSite(ExampleProject):
    """The Django example under gevent, with tasks of the user."""

    def __init__(self, pipeline):
        # A name instead of an address, so that the event loop resolves names.
        pipeline.values["api_url"] = pipeline.sandbox.url.replace("127.0.0.1", "localhost")
        settings = {"DJANGO_SETTINGS_MODULE": "config.settings", "DJANGO_DATABASE": "db.sqlite3"}
        super().__init__("django", sys.executable, pipeline, **settings)
        # This interpreter has the checkout, and gevent.
        self.environment["PYTHONPATH"] = os.pathsep.join([str(self.folder), pipeline.environment["PYTHONPATH"]])
        tasks = self.folder / "tasks" / "tasks.py"
        tasks.write_text(tasks.read_text() + TASKS)
        self.run("manage.py", "migrate", "-v0")

    def shell(self, script):
        return json.loads(self.run("manage.py", "shell", "-v0", "-c", script).splitlines()[-1])

    def work(self):
        self.pipeline.folder = self.folder
        return self.pipeline.work(app="config", pool="gevent", concurrency=50, **self.environment)

    def remove_package(self):
        settings = self.folder / "config" / "settings.py"
        settings.write_text(settings.read_text().replace('"scrape_do_celery.contrib.django",', ""))


@pytest.fixture
def site(pipeline):
    with GreenletSite(pipeline) as one:
        yield one


@pytest.mark.long
def test_tasks_of_a_user_pass_beside_a_run(site):
    site.work()
    found, state, late_imports = site.shell(ONE_AT_A_TIME)
    assert found == ["done"] * 300
    assert state == "running"
    assert late_imports == []
    assert "Traceback" not in site.pipeline.log.read_text()


@pytest.mark.long
def test_overlapping_event_loops_fail_as_often_as_without_the_package(site):
    """Hold one event loop open in a greenlet: each other loop and query of the process fails, with and without us."""
    worker = site.work()
    site.shell("from scrape_do_celery import enqueue; enqueue(['https://a.example/']).result(timeout=60); print(0)")
    beside = site.shell(OVERLAPPING)
    worker.terminate()
    worker.wait(30)
    site.remove_package()
    site.work()
    assert beside == site.shell(OVERLAPPING)
    assert beside == ["done", *["RuntimeError"] * 20, *["SynchronousOnlyOperation"] * 20]


@pytest.mark.long
@pytest.mark.parametrize("arguments", [(), ("-Q", "{prefix}")], ids=["default queues", "our queue only"])
def test_eventlet_is_refused_with_the_reason(pipeline, arguments):
    worker = pipeline.work(*(text.format(prefix=pipeline.prefix) for text in arguments), pool="eventlet")
    assert worker.wait(60) == 1
    assert "the eventlet pool is not supported" in pipeline.log.read_text()
