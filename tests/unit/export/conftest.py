"""Provide ended and live runs whose tasks a test describes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from scrape_do_celery import RunHandle
from scrape_do_celery.models import JobDetails, TaskDetails, UndetailedTaskResponse
from scrape_do_celery.store import PartId, PartState, RunSpec
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import RecordOutcome

MEMORY = Path("/dev/shm")


@pytest.fixture
def make_run(step_harness, fetch_run):
    """Return a function that makes a run with these tasks, and returns its handle.

    A task is the fields of a `TaskDetails`. A task that is None is not stored.
    """

    def make(tasks, *, run_id="r", inputs=None, live=False, **options):
        targets = [f"https://shop.example/{n}" for n in range(len(tasks))]
        step_harness.run(CreateRun(run_id, RunSpec.from_arguments(inputs or targets, **options)))
        return fetch_run(tasks, run_id, live=live)

    return make


@pytest.fixture
def fetch_run(step_harness):
    """Return a function that fetches the tasks of a new run, as `make_run` describes them."""

    def fetch(tasks, run_id, *, live=False):
        targets = [f"https://shop.example/{n}" for n in range(len(tasks))]
        step_harness.make_running(run_id, state=PartState.FETCHING)
        claim, part_id = step_harness.claim_part(run_id), PartId(run_id, 0)
        whole = [
            {"task_id": f"t{n}", "job_id": "j", "url": url, "status": "success", "status_code": 200, **(fields or {})}
            for n, (url, fields) in enumerate(zip(targets, tasks, strict=True))
        ]
        summary = [
            UndetailedTaskResponse(**{name: one[name] for name in ("task_id", "url", "status")}) for one in whole
        ]
        ids = [one["task_id"] for one in whole]
        job = JobDetails(job_id=f"job-{run_id}-0", status="success", task_ids=ids, tasks=summary)
        step_harness.run(UpdatePart(claim, {}, job=job))
        for at, (fields, one) in enumerate(zip(tasks, whole, strict=True)):
            if fields is not None:
                step_harness.run(StoreContent(part_id, at, TaskDetails(**one)))
        if not live:
            step_harness.run(FinishPart(claim, "succeeded"))
            step_harness.run(RecordOutcome(run_id, "succeeded", {}))
        return RunHandle(run_id, app_context=step_harness.app_context)

    return fetch


@pytest.fixture
def end_scheduled(fetch_run):
    """Return a function that fetches the page of a run with one target."""
    return lambda run_id: fetch_run([{"content": "page"}], run_id)


@pytest.fixture
def tmp_path(tmp_path):
    """Return a folder in memory if the system has one: on a disk, these tests would mostly wait for `fsync`."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def many_pages(make_run):
    """Return the handle of a run with seven pages."""
    return make_run([{"content": f"page {n}"} for n in range(7)])


@pytest.fixture
def read_folder():
    """Return a function that reads the names and bytes in a folder."""
    return lambda folder: {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def names_in():
    """Return a function that reads the sorted names in a folder."""
    return lambda folder: sorted(path.name for path in folder.iterdir())
