"""Test `make demo` as a new user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

ROOT = Path(__file__).parents[2]


class Demo:
    """The demo as a process of its own, with its output."""

    def __init__(self, **environment):
        env = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPE_DO_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.demo"],
            cwd=ROOT,
            env={**env, "URLS": "", "LIVE": "", "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""

    def until(self, text):
        while text not in self.said:
            line = self.process.stdout.readline()
            assert line, f"the demo ended before it said {text!r}: {self.said}"
            self.said += line

    def end(self):
        # `communicate` would lose what `readline` has read ahead.
        with self.process.stdout as output:
            self.said += output.read()
        return self.process.wait(60)

    @property
    def parts(self):
        """The process ids of the demo's parts."""
        return [int(pid) for pid in re.findall(r"pid (\d+)", self.said)]

    def left(self):
        """Return the processes of the demo that still run: its parts, and the worker's own processes."""
        groups = {str(pid) for pid in (self.process.pid, *self.parts)}
        listing = subprocess.run(["ps", "-eo", "pid=,pgid=,stat=,args="], capture_output=True, text=True, check=True)
        rows = [line.split(None, 3) for line in listing.stdout.splitlines()]
        return [row for row in rows if (row[0] in groups or row[1] in groups) and not row[2].startswith("Z")]


@pytest.fixture
def demo():
    started = []

    def start(**environment):
        started.append(Demo(**environment))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.stdout.close()
        one.process.wait()


def test_the_whole_demo(demo):
    run = demo()
    assert run.end() == 0, run.said
    stages = [
        "Loading Celery",
        "store ",
        "sandbox ",
        "worker ",
        "submitted 6 targets, as run",
        "job bought: ",
        # A run may end before a poll meets an unfinished job, so "polled" need not stand here.
        "fetched 6 of 6 results",
        "run succeeded: 6 succeeded, 0 failed",
        "tasks  6 succeeded, 0 failed",
        "submitted 2 targets, as run",
        "run failed: 0 succeeded, 2 failed",
        "Done. Stopping",
        "Stopped.",
    ]
    places = [run.said.index(stage) for stage in stages]
    assert places == sorted(places), run.said
    for line in (
        r"/catalogue +success +200 +[\d,]+ +1",
        r"/no-such-page +success +404 +[\d,]+ +1",
        r"/logo\.png +success +200 +69 +1",
        r"tasks +6 succeeded, 0 failed",
        r"5 titles saved in .+/\.demo/titles/[0-9a-f-]+\.json",
        r"/catalogue +Catalogue: 1,204 books & maps +200",
        r"raised +JobFailedError",
        r"message +job [0-9a-f-]+ ended as error .+: 2 of 2 tasks failed",
        r"counts +\{'failed': 2, 'canceled': 0, 'total': 2\}",
    ):
        assert re.search(line, run.said), f"{line}\n{run.said}"
    assert len(run.parts) == 3
    assert run.left() == []


@pytest.mark.long
def test_two_demos_with_other_urls_share_a_server(demo, server_url):
    own = demo(URLS="https://a.example/ https://a.example/x?status=404")
    given = demo(URLS="https://b.example/", SCRAPE_DO_REDIS_URL=server_url)
    assert [own.end(), given.end()] == [0, 0], own.said + given.said
    assert re.search(r"https://a\.example/x\?status=404 +success +404", own.said)
    assert "https://b.example/" not in own.said
    assert "yours, at SCRAPE_DO_REDIS_URL" in given.said
    run_ids = re.findall(r"as run ([0-9a-f-]+)", given.said)
    assert len(run_ids) == 3
    assert keys_of(server_url, *run_ids, f"scrape_do_demo_{given.process.pid}-") == []
    assert own.left() == given.left() == []


def keys_of(server_url, *names):
    """Return the keys that hold one of the names, in the databases of store, broker and results."""
    found = []
    for number in range(3):
        with redis.Redis.from_url(re.sub(r"/0$", f"/{number}", server_url)) as client:
            found += [key for name in names for key in client.scan_iter(f"*{name}*")]
    return found


@pytest.mark.parametrize("mark", ["Loading", "sandbox", "submitted"])
def test_an_interrupt_leaves_nothing_running(demo, mark):
    run = demo()
    run.until(mark)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130, run.said
    assert run.left() == []


@pytest.mark.long
def test_dead_worker_fails_the_demo_with_its_log(demo):
    run = demo()
    run.until("submitted 6 targets")
    os.kill(run.parts[2], signal.SIGKILL)
    assert run.end() == 1
    assert "the last lines of .demo/worker.log" in run.said
    assert "ready." in run.said
    assert "The demo failed: DemoError: the worker ended with -9" in run.said
    assert run.left() == []


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"LIVE": "1"}, "needs your Scrape.do token"),
        ({"LIVE": "1", "SCRAPE_DO_API_KEY": "x"}, "stdin is not a terminal. Nothing was bought."),
        ({"URLS": "ftp://a.example"}, "targets[0] is not an absolute http or https URL"),
    ],
)
def test_demo_refuses_an_unsuitable_environment(demo, environment, text):
    run = demo(**environment)
    assert run.end() == 2
    assert text in run.said
    assert run.parts == []
