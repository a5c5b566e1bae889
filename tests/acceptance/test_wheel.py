"""Test the wheel alone in its own environment and another folder: the README's worker line, and `enqueue`."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from wheel_env import install_wheel

SCRIPT = """
from celery.result import AsyncResult
from scrape_do_celery import JobFailedError, enqueue

handle = enqueue(["https://a.example/1", "https://a.example/2"], geo_code="us")
print([task.status_code for task in handle.result(timeout=150).tasks])
print(AsyncResult(handle.run_id).get(timeout=150)["outcome"])
try:
    enqueue(["https://a.example/?sandbox=error"]).result(timeout=150)
except JobFailedError as error:
    print(type(error).__name__, error.job.status)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Return the interpreter of an environment with the wheel and nothing else of ours."""
    return install_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.long
def test_the_wheel_alone(python, pipeline):
    environment = {k: v for k, v in pipeline.environment.items() if k != "PYTHONPATH" and "COVERAGE" not in k}
    celery = python.parent / "celery"
    with (pipeline.folder / "wheel.log").open("wb") as log:
        worker = subprocess.Popen(
            [celery, "-A", "scrape_do_celery.worker", "worker"],
            env=environment,
            cwd=pipeline.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        done = subprocess.run(
            [python, "-c", SCRIPT],
            env={k: v for k, v in environment.items() if k != "SCRAPE_DO_API_KEY"},
            cwd=pipeline.folder,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(60)
    assert done.stdout.splitlines() == ["[200, 200]", "succeeded", "JobFailedError error"], done.stderr
    names = subprocess.run(
        [python, "-c", "import importlib.metadata as m; print({f.parts[0] for f in m.files('scrape-do-celery')})"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not {"config", "tasks", "worker", "tests"} & set(eval(names))
