"""Test bulk commands with a real worker, a real server, and the death of a command in the middle of its work."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter

import pytest

from scrape_do_celery import JobCanceledError, list_runs

RUNS = 8
#: A command that dies after it has written its fourth child, and before the step message of that child.
DYING = """
import os, signal, sys
from scrape_do_celery.cli import main
from scrape_do_celery.runs import AppContext

publish, published = AppContext.publish, []

def publish_or_die(self, *args, **options):
    published.append(args)
    if len(published) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return publish(self, *args, **options)

AppContext.publish = publish_or_die
main(sys.argv[1:])
"""


@pytest.fixture
def scrape_do(pipeline):
    """Return a function that runs a command in a process of its own, as a user does."""

    def call(*arguments, code=None):
        return subprocess.run(
            [sys.executable, *(["-m", "scrape_do_celery"] if code is None else ["-c", code]), *arguments],
            env=pipeline.environment,
            cwd=pipeline.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


def sold_pages(sandbox):
    """Return how often each target was bought, by the sandbox's own log."""
    return Counter(url for entry in sandbox.log() if entry["kind"] == "create_job" for url in entry["targets"])


def as_json(answer):
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.mark.long
def test_repetition_after_a_death_buys_no_page_twice(pipeline, sandbox, scrape_do, eventually):
    def runs(**filters):
        return list_runs(settings=pipeline.settings, tag="shop:7", **filters).runs

    sandbox.fault("task_fails", target="bad")
    pipeline.work()
    good, bad = ([f"https://shop.example/{kind}-{n}" for n in range(RUNS)] for kind in ("good", "bad"))
    for pair in zip(good, bad, strict=True):
        pipeline.enqueue(list(pair), tags=["shop:7"])
    other = pipeline.enqueue(["https://shop.example/bad-other"], tags=["other"])
    eventually(lambda: len(runs(state="ended")) == RUNS and other.status.has_ended, within=120)
    sandbox.clear_faults()
    # This page fails again: the repetition must not buy it a third time.
    sandbox.fault("task_fails", target=f"bad-{RUNS - 1}")

    died = scrape_do("retry", "--tag", "shop:7", "--yes", code=DYING)
    assert died.returncode == -signal.SIGKILL
    assert len(runs()) == RUNS + 4
    until = re.search(r"^until +(\S+)$", died.stderr, re.MULTILINE)[1]
    # The child without a message is found by the dispatcher.
    eventually(lambda: len(runs(state="ended")) == RUNS + 4, within=120)
    again = as_json(scrape_do("retry", "--tag", "shop:7", "--until", until, "--yes", "--json"))
    assert (again["runs"], again["tasks"], again["failed"]) == (RUNS - 4, RUNS - 4, [])
    assert {one["reason"]: one["count"] for one in again["skipped"]} == {"retried": 4}
    eventually(lambda: len(runs(state="ended")) == 2 * RUNS, within=120)
    third = as_json(scrape_do("retry", "--tag", "shop:7", "--until", until, "--yes", "--json"))
    assert (third["runs"], third["skipped"][0]["count"]) == (0, RUNS)
    assert sold_pages(sandbox) == dict.fromkeys(good, 1) | dict.fromkeys(bad, 2) | {"https://shop.example/bad-other": 1}

    slow = [pipeline.enqueue([f"https://slow.example/{n}?seconds=600"], tags=["shop:7"]) for n in range(2)]
    eventually(lambda: all(handle.jobs for handle in slow), within=60)
    assert as_json(scrape_do("cancel", "--tag", "shop:7", "--state", "live", "--yes", "--json"))["runs"] == 2
    for handle in slow:
        with pytest.raises(JobCanceledError):
            handle.result(timeout=60)
    forgotten = as_json(scrape_do("forget", "--tag", "shop:7", "--yes", "--json"))
    assert (forgotten["runs"], forgotten["pages"], forgotten["skipped"]) == (2 * RUNS + 2, 2 * RUNS - 1, [])
    eventually(lambda: not runs(), within=60)
    assert other.status.has_ended
