"""Provide real servers for tests: a Redis-protocol server, the sandbox, worker processes."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import uuid
import warnings
from pathlib import Path
from unittest.mock import patch

import hypothesis
import pytest

from scrape_do_celery import embedded
from scrape_do_sandbox import SandboxProcess

sys.path.insert(0, str(Path(__file__).parent / "support"))

from pipeline import Pipeline
from wheel_env import NEWEST, install_once

from scrape_do_celery.runs import store_guard

# Every store of these tests is their own. Tests of the guard run in processes of their own, where nothing is replaced.
store_guard.find_test_runner = lambda: ""


# On a loaded machine, any example may take longer than the 200 ms that Hypothesis allows.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

#: A server for ASGI, and a framework for it, as in docs/how-to/async.md.
ASYNC_SERVERS = ("uvicorn", "fastapi")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """Leave the collected tests out of later garbage collections, which took a seventh of the time of unit tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before a test is played again, collect what the first attempt has left open. No error of it counts now."""
    if getattr(item, "execution_count", 1) > 1:
        # The traceback of the first attempt keeps all its objects.
        for name in ("last_type", "last_value", "last_traceback"):
            sys.__dict__.pop(name, None)
        # The end of such an object may raise: its server is gone.
        with patch.object(sys, "unraisablehook", lambda _: None), warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture(autouse=True)
def end_of_left_calls():
    """Fail a test that leaves a call at work in a thread. The call would log into, and slow, the tests after."""
    yield
    deadline = time.monotonic() + 30
    while left := [thread for thread in threading.enumerate() if thread.name == "scrape-do-call"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(left)} calls go on after the test: let what they wait for answer before its end")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def users_python(tmp_path_factory):
    """Return the interpreter of a user's environment: the wheel, its extras, schedulers of beat, an ASGI server."""
    folder = tmp_path_factory.getbasetemp()
    # With pytest-xdist the first process makes the environment for all.
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    # coverage measures the wheel's code there as it measures the checkout's.
    # django-celery-beat does not support the newest Django.
    schedulers = () if NEWEST else ("django-celery-beat",)
    return install_once(shared / "users", "django,flask", *schedulers, "coverage", *ASYNC_SERVERS)


@pytest.fixture(scope="session")
def server_url(tmp_path_factory):
    """Return the URL of the session's server: the user's, or else an embedded one. Without a server the tests fail."""
    if given := os.environ.get("SCRAPE_DO_REDIS_URL"):
        yield given
        return
    with embedded.ensure(tmp_path_factory.mktemp("store"), tie_to_parent=True) as found:
        yield found.url


@pytest.fixture(scope="session")
def shared_sandbox():
    """Provide one sandbox process for the session."""
    with SandboxProcess(task_seconds=0.2) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox):
    """Return the sandbox, empty and without faults."""
    shared_sandbox.reset()
    return shared_sandbox


@pytest.fixture
def pipeline(server_url, sandbox, tmp_path):
    """Provide a pipeline with a fresh key prefix and queue, and without a worker."""
    with Pipeline(server_url, sandbox, tmp_path, prefix=f"t{uuid.uuid4().hex[:8]}") as one:
        yield one


@pytest.fixture
def eventually():
    """Return a function that waits for a state with a deadline."""

    def wait(look, *, within=60.0):
        deadline = time.monotonic() + within
        while not (found := look()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not so within {within} s; last seen: {found!r}")
            time.sleep(0.02)
        return found

    return wait


@pytest.fixture
def browser(tmp_path_factory):
    """Provide a real Chromium without a window. Only tests with the marker `browser` may use it."""
    from browser import Browser

    one = Browser(tmp_path_factory.mktemp("chromium"))
    yield one
    one.close()
