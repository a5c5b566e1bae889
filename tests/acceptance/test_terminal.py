"""Test the commands in processes of their own, as a person at a terminal and a script use them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

pytestmark = pytest.mark.long

TOOL = (sys.executable, "-m", "scrape_do_celery")


def _take_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Person:
    """A command on a pseudo-terminal, and what it shows there."""

    def __init__(self, pipeline, *arguments, **environment):
        self._master, slave = pty.openpty()
        environment = {"TERM": "xterm", "COLUMNS": "100", **environment}
        self.process = subprocess.Popen(
            [*TOOL, *arguments],
            env={**pipeline.environment, **environment},
            cwd=pipeline.folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=_take_terminal,  # noqa: PLW1509 (Ctrl-C reaches only the session that owns the terminal)
        )
        os.close(slave)
        self.shown = ""

    def read_until(self, text, seconds=60):
        """Read until the text is shown."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            if time.monotonic() > deadline:
                raise TimeoutError(self.shown)
            if not self._read(0.2):
                break
        assert text in self.shown, self.shown

    def press(self, keys):
        os.write(self._master, keys)

    def wait(self, seconds=60):
        """Read to the end, and return the exit code."""
        deadline = time.monotonic() + seconds
        while self._read(0.2):
            if time.monotonic() > deadline:
                raise TimeoutError(self.shown)
        code = self.process.wait(seconds)
        os.close(self._master)
        return code

    def _read(self, seconds):
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # the other end is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


@pytest.fixture
def worker(pipeline):
    """Start the worker by the command of this package."""
    with pipeline.log.open("ab") as log:
        process = subprocess.Popen(
            [*TOOL, "worker", "-c", "2", "--without-gossip", "--without-mingle", "-n", f"w@{pipeline.prefix}"],
            env=pipeline.environment,
            cwd=pipeline.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    pipeline.workers.append(process)
    return process


def test_person_starts_interrupts_and_finds_a_run_again(pipeline, worker, tmp_path):
    first = Person(pipeline, "run", "https://a.example/?seconds=600", "https://b.example/")
    first.read_until("0/2", seconds=90)
    first.press(b"\x03")
    first.read_until("Stopped watching.")
    assert first.wait() == 130
    run_id = re.search(r" watch (\S+)", first.shown)[1]
    assert "Traceback" not in first.shown
    assert first.shown.rindex("\x1b[?25h") > first.shown.index("0/2"), "the cursor is back"
    assert pipeline.handle(run_id).state.value in {"queued", "submitting", "running", "fetching"}

    second = Person(pipeline, "watch", run_id, TERM="dumb")
    second.read_until("of 2 pages, running")
    assert "\x1b" not in second.shown
    os.kill(second.process.pid, signal.SIGTERM)
    assert second.wait() == 143

    pipeline.handle(run_id).cancel()
    ended = subprocess.run(
        [*TOOL, "watch", run_id], env=pipeline.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (4, "")
    assert re.search("^state +canceled$", ended.stdout, re.MULTILINE)

    # A reader that is gone before the first line.
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        quiet = subprocess.run(
            [*TOOL, "status", run_id],
            env=pipeline.environment,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (quiet.returncode, quiet.stderr) == (141, b"")


DJANGO = """
import sys
from django.conf import settings
settings.configure(INSTALLED_APPS=["scrape_do_celery.contrib.django"], USE_TZ=True, DATABASES={
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "scrape_do", *sys.argv[1:]])
"""
FLASK = "from flask import Flask\napp = Flask(__name__)\n"
DOORS = {
    "celery": ("-m", "celery", "-A", "scrape_do_celery.worker", "scrape-do"),
    "flask": ("-m", "flask", "--app", "flask_door", "scrape-do"),
    "django": ("-c", DJANGO),
}


def test_each_door_runs_the_same_commands(pipeline, worker):
    (pipeline.folder / "flask_door.py").write_text(FLASK)

    def call(door, *arguments, given=""):
        return subprocess.run(
            [sys.executable, *DOORS[door], *arguments],
            input=given,
            env=pipeline.environment,
            cwd=pipeline.folder,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    for door in DOORS:
        answer = call(door, "run", "-", "--out", f"pages-{door}", "--json", given=f"https://{door}.example/\n")
        assert answer.returncode == 0, answer.stderr
        (found,) = json.loads(answer.stdout)["runs"]
        assert found["run"]["state"] == "succeeded"
        assert (pipeline.folder / found["tasks"][0]["file"]).is_file()
    # Django's commands turn errors into their own.
    wrong = call("django", "run", "-", given="x\n")
    assert wrong.returncode == 2, wrong.stderr
    assert "line 1 'x' is not an absolute http or https URL" in wrong.stderr
    assert pipeline.posts() == len(DOORS)
