"""Test the application at the top of the repository, without a server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import scrape_do_celery
from scrape_do_celery import TaskDetails

ROOT = Path(__file__).parents[2]
#: The folder of the tested package. A child process without it imports the package that is installed.
SOURCE = str(Path(scrape_do_celery.__file__).parents[1])


@pytest.fixture
def titles(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("TITLES_DIR", str(tmp_path / "titles"))
    from tasks import titles

    return titles


def task(number, **fields):
    given = {"TaskID": f"t{number}", "JobID": "j", "URL": f"https://a.example/{number}", "Status": "success"}
    return TaskDetails.model_validate({**given, "StatusCode": 200, **fields})


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<!doctype html><html><head><title>One</title>", "One"),
        ("<TITLE>\n  Fish &amp;\n chips </TITLE><title>second</title>", "Fish & chips"),
        ("<title></title>", None),
        ("<title>cut off", "cut off"),
        ("no markup at all", None),
        ("", None),
        ("<![nonsense[ <title>x</title>", None),
        ("<p>" * 3000 + "<title>late</title>" + "<p>" * 3000, "late"),
        (f"{'x' * 4092}<title>over the edge</title>", "over the edge"),
    ],
)
def test_titles_of_pages(titles, page, title):
    assert titles.title_of(page) == title


TASKS = [
    task(0, Content="<title>Ünïcode</title>"),
    task(1, Content="PHRpdGxlPng8L3RpdGxlPg==", Base64EncodedContent=True),
    task(2, Status="error", StatusCode=0, Content=None),
]


class Handle:
    def __init__(self, run_id):
        self.run_id = run_id

    def iter_tasks(self):
        yield from TASKS


def test_titles_of_a_run_are_saved_whole(titles, monkeypatch, tmp_path):
    monkeypatch.setattr(titles, "RunHandle", Handle)
    saved = [titles.save_titles.run({"run_id": "r-1"}) for _ in range(2)]
    (file,) = (tmp_path / "titles").iterdir()
    assert saved == [{"run_id": "r-1", "file": str(file), "titles": 1}] * 2
    assert json.loads(file.read_text()) == [
        {"url": "https://a.example/0", "status": "success", "status_code": 200, "title": "Ünïcode"},
        {"url": "https://a.example/1", "status": "success", "status_code": 200, "title": None},
        {"url": "https://a.example/2", "status": "error", "status_code": 0, "title": None},
    ]


@pytest.mark.parametrize(
    "run_id", ["../../data/x", "/etc/x", "..", "", "a/../../b", "x\0y", "a\nb", "x" * 5000, "C:\\x", "é"]
)
def test_each_run_id_gives_a_file_in_the_folder(titles, monkeypatch, tmp_path, run_id):
    monkeypatch.setattr(titles, "RunHandle", Handle)
    saved = titles.save_titles.run({"run_id": run_id})
    (file,) = (tmp_path / "titles").iterdir()
    assert [str(file)] == [saved["file"]] == [one for one in map(str, tmp_path.rglob("*")) if one.endswith(".json")]
    assert titles.name_file(run_id) != titles.name_file(f"{run_id}.")


def test_worker_has_its_tasks_and_a_json_schedule(tmp_path):
    # In a process of its own, because the application makes itself the default app.
    code = """
import json
from celery import current_app
from worker import app
app.loader.import_default_modules()
(entry,) = app.conf.beat_schedule.values()
json.dumps(entry["kwargs"])
assert entry["task"] in app.tasks and entry["kwargs"]["canvas"]["link"]["task"] in app.tasks
assert current_app.main == "worker"
print(*sorted(name for name in app.tasks if not name.startswith("celery.")))
"""
    env = {"PATH": "", "PYTHONPATH": SOURCE, "SCRAPE_DO_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {"app.save_titles", "scrape_do.scrape", "scrape_do.deliver_outcome"} <= set(done.stdout.split())


def test_the_example_environment_names_real_settings():
    from scrape_do_celery.config import Settings
    from scrape_do_celery.config.variables import unknown_variables

    lines = (ROOT / "config" / "env.example").read_text().splitlines()
    names = [line.lstrip("#").partition("=")[0] for line in lines if "SCRAPE_DO_" in line and not line.startswith("# ")]
    assert len(names) > 4
    assert unknown_variables(dict.fromkeys(names, ""), Settings.model_fields) == []
