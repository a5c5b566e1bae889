"""Test the public names: each is listed in `__all__`, exists, and is used by the typed file."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import scrape_do_celery

ROOT = Path(__file__).parents[2]
ISSUE = {
    "enqueue",
    "RunHandle",
    "RunState",
    "Settings",
    "JobCreationRequest",
    "JobDetails",
    "TaskDetails",
    "JobResult",
    "ScrapeDoAsyncAPIClient",
    "AsyncScrapeDoAsyncAPIClient",
    "PollingStrategy",
    "ScrapeDoError",
    "JobFailedError",
    "JobCanceledError",
    "TaskFailedError",
    "TaskCanceledError",
    "RunTimeoutError",
    "ResultNotReadyError",
    "SubmitInDoubtError",
    "IdempotencyConflictError",
}


def test_names_are_there_once():
    names = scrape_do_celery.__all__
    assert len(names) == len(set(names))
    assert all(getattr(scrape_do_celery, name) is not None for name in names)
    assert set(names) >= ISSUE


def test_every_class_of_error_is_public():
    made = scrape_do_celery.ScrapeDoError.registry
    private = {"SettingsError", "EmbeddedServerError", "SandboxError", "PausedError"}
    assert set(made) - private <= set(scrape_do_celery.__all__)


def test_a_producer_loads_neither_the_http_client_nor_the_worker():
    script = """
import sys
import scrape_do_celery
from scrape_do_celery import enqueue, RunHandle
heavy = [m for m in sys.modules if m.split(".")[0] in ("httpx", "httpcore", "w3lib")
         or m.startswith(("scrape_do_celery.client", "scrape_do_celery.tasks", "scrape_do_celery.worker"))]
print(heavy)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_typed_file_uses_the_names_of_the_surface():
    text = (ROOT / "tests/typing/api.py").read_text()
    assert set(re.findall(r"\bs\.(\w+)", text)) >= ISSUE


def test_the_lowest_constraints_are_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    bounds = dict(re.match(r"([\w.-]+)(?:\[.*?\])?>=([\d.]+)", one).groups() for one in declared)
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints-lowest.txt").read_text().splitlines() if "==" in line
    )

    def full(version):
        return [*version.split("."), "0", "0"][:3]

    assert {name: full(v) for name, v in bounds.items() if name != "flower"} == {n: full(v) for n, v in pinned.items()}


def test_the_package_runs_as_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "scrape_do_celery", "--version"], capture_output=True, text=True, check=True
    )
    assert scrape_do_celery.__name__.replace("_", "-") in done.stdout.replace("_", "-")
