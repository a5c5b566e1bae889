"""Test beat with each of its schedulers: a tick is one run, regardless of the number of beats."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from scrape_do_celery import TickDecision, list_schedules, pause_schedule, resume_schedule

EXAMPLE = Path(__file__).parents[2] / "examples" / "django"
DJANGO = """
from app_with_schedule import app as _beats
CELERY_BEAT_SCHEDULE = _beats.conf.beat_schedule
INSTALLED_APPS += ["django_celery_beat"]
CELERY_BEAT_MAX_LOOP_INTERVAL = 1
"""
#: Seconds, as in `app_with_schedule`, which cannot be imported without a broker.
EVERY = 2.0
OWN, REDBEAT, DATABASE = "celery.beat:PersistentScheduler", "redbeat.RedBeatScheduler", "django"


@pytest.fixture
def beats(pipeline):
    """Return a function that starts a beat, and end all beats afterwards."""
    started = []

    def start(app, scheduler, **environment):
        folder = pipeline.folder / f"beat{len(started)}"
        folder.mkdir()
        command = [sys.executable, "-m", "celery", "-A", app, "beat", "-S", scheduler, "--pidfile="]
        command += ["-s", str(folder / "schedule")] if scheduler == OWN else []
        with (folder / "log").open("wb") as log:
            beat = subprocess.Popen(
                [*command, "-l", "INFO"],
                env={**pipeline.environment, **environment},
                cwd=environment.get("FOLDER", folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append((beat, folder / "log"))
        return started

    yield start
    for beat, _ in started:
        if beat.poll() is None:
            os.killpg(beat.pid, signal.SIGTERM)
    for beat, _ in started:
        beat.wait(30)


@pytest.fixture
def project(pipeline, tmp_path):
    """Return the environment of the Django example with the schedule."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder)
    settings = folder / "config" / "settings.py"
    settings.write_text(settings.read_text() + DJANGO)
    environment = {
        "FOLDER": str(folder),
        "PYTHONPATH": os.pathsep.join([str(folder), pipeline.environment["PYTHONPATH"]]),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DJANGO_DATABASE": str(folder / "db.sqlite3"),
        "REDIS_URL": pipeline.values["redis_url"].rpartition("/")[0],
    }
    migrate = [sys.executable, "manage.py", "migrate", "-v0"]
    everything = {**pipeline.environment, **own_servers(pipeline), **environment}
    subprocess.run(migrate, cwd=folder, env=everything, check=True, capture_output=True)
    return {**own_servers(pipeline), **environment}


def own_servers(pipeline):
    return {
        "SCRAPE_DO_BROKER_URL": pipeline.settings.broker_url,
        "SCRAPE_DO_RESULT_BACKEND": pipeline.settings.result_backend,
    }


def slots(pipeline):
    """Return the ticks for which jobs were bought, in order."""
    return sorted(job["created"] // EVERY for job in pipeline.sandbox.jobs())


@pytest.mark.parametrize("scheduler", [OWN, pytest.param(REDBEAT, marks=pytest.mark.long)])
def test_two_beats_make_one_run_a_tick(pipeline, beats, eventually, scheduler):
    environment = own_servers(pipeline)
    pipeline.work(app="app_with_schedule", **environment)
    for _ in range(2):
        started = beats("app_with_schedule", scheduler, **environment)
    _one_run_a_tick(pipeline, eventually, started)


@pytest.mark.long
def test_pause_outlives_beat_and_worker(pipeline, beats, eventually):
    """Pause a schedule, restart its beat and its worker, and resume it: ticks of the pause stay without a run."""
    environment = own_servers(pipeline)
    worker = pipeline.work(app="app_with_schedule", **environment)
    ((beat, _),) = beats("app_with_schedule", OWN, **environment)

    def get():
        found = list_schedules(settings=pipeline.settings)
        return found[0] if found else None

    eventually(lambda: get() and get().last_decision is TickDecision.STARTED)
    assert pause_schedule("prices", by="ann", note="test", settings=pipeline.settings)
    eventually(lambda: get().last_decision is TickDecision.PAUSED)
    last_run, paused_at = get().last_run, get().last_tick
    for process in (beat, worker):
        process.terminate()
        process.wait(30)
    pipeline.work(app="app_with_schedule", **environment)
    beats("app_with_schedule", OWN, **environment)
    eventually(lambda: get().last_tick > paused_at)
    assert (get().last_decision, get().last_run, get().pause.note) == (TickDecision.PAUSED, last_run, "test")
    assert resume_schedule("prices", settings=pipeline.settings)
    eventually(lambda: get().last_run != last_run)
    assert "the schedule is paused; to go on: scrape-do schedules resume prices" in pipeline.log.read_text()
    ticks = [key for key in pipeline.stored_keys() if key.startswith(f"{pipeline.prefix}:tick:")]
    values = pipeline.app_context.store.client.mget(ticks)
    runs = [value.split()[0] for value in values if value]
    assert len(runs) == len(set(runs)) < len(values), "some ticks have no run"


@pytest.mark.long
def test_each_tick_is_exported_to_a_file_of_its_own(pipeline, beats, eventually):
    folder = pipeline.folder / "exports"
    environment = {**own_servers(pipeline), "EXPORT_TO": f"{folder}/{{schedule}}/{{date}}/{{time}}.jsonl"}
    pipeline.work(app="app_with_schedule", **environment)
    beats("app_with_schedule", OWN, **environment)
    eventually(lambda: len(list(folder.glob("prices/*/*.jsonl"))) >= 2)
    for path in sorted(folder.rglob("*.jsonl"))[:2]:
        (row,) = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert (row["url"], row["status"]) == ("https://a.example/", "success")
        handle = pipeline.handle(row["run_id"])
        eventually(lambda: handle.status.export.state == "done")  # noqa: B023 (called at once)
        assert (handle.status.export.to, handle.state) == (str(path), "succeeded")
        tick = datetime.strptime(f"{path.stem}+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
        key = f"{pipeline.prefix}:tick:prices:{tick:.0f}"
        assert pipeline.app_context.store.client.get(key).decode().split()[0] == row["run_id"]


@pytest.mark.long
def test_two_beats_of_django_make_one_run_a_tick(pipeline, beats, eventually, project):
    pipeline.work(app="config", **project)
    for _ in range(2):
        started = beats("config", "django_celery_beat.schedulers:DatabaseScheduler", **project)
    _one_run_a_tick(pipeline, eventually, started)


def _one_run_a_tick(pipeline, eventually, started):
    def sent():
        """Return when each beat published the schedule, in epoch seconds."""
        lines = [
            re.findall(r"^\[(\S+ \S+?),(\d+): .*Sending due task", log.read_text(), re.MULTILINE) for _, log in started
        ]
        return [[datetime.fromisoformat(at).timestamp() + int(ms) / 1000 for at, ms in found] for found in lines]

    try:
        eventually(lambda: min(map(len, sent())) >= 3)
    except AssertionError:
        raise AssertionError(
            [log.read_text()[-2000:] for _, log in started] + [pipeline.log.read_text()[-2000:]]
        ) from None
    runs = {key.rpartition(":")[2] for key in pipeline.stored_keys() if key.startswith(f"{pipeline.prefix}:run:")}
    ticks = [key for key in pipeline.stored_keys() if key.startswith(f"{pipeline.prefix}:tick:")]
    made = [value.decode().split()[0] for value in pipeline.app_context.store.client.mget(ticks)]
    assert len(made) == len(set(made))
    # Another run may have been made between the two reads.
    assert runs <= set(made)
    due = {at // EVERY for beat in sent() for at in beat}
    # The last message may be under way. A message at the end of a tick may carry the time of the next tick.
    assert len(due) - 1 <= len(runs) <= len(due) + 1
    eventually(lambda: pipeline.posts() >= len(runs))
    for run_id in runs:
        assert len(pipeline.handle(run_id).result(timeout=60).tasks) == 1
    client, followed = pipeline.app_context.store.client, f"{pipeline.prefix}:followed"
    eventually(lambda: runs <= {member.decode() for member in client.smembers(followed)})


@pytest.mark.long
def test_a_crontab_goes_by_its_own_zone(pipeline, beats, eventually):
    """Publish three ticks of a zone in which it is another hour: each is a run. Messages without a run say why."""
    environment = own_servers(pipeline)
    pipeline.work(app="app_with_zones", **environment)
    ((_, log),) = beats("app_with_zones", OWN, **environment)

    def sent(name):
        return log.read_text().count(f"Sending due task {name} ")

    def bought(name):
        return sum(f"{name}.example" in str(job) for job in pipeline.sandbox.jobs())

    eventually(lambda: sent("tokyo") >= 3, within=240)
    eventually(lambda: bought("tokyo") >= 3)
    assert 1 <= bought("edited") < sent("edited")
    eventually(lambda: "schedule edited: a message for the tick" in pipeline.log.read_text())
    assert "schedule tokyo: a message for the tick" not in pipeline.log.read_text()
