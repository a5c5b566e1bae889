"""Test a handle that a process keeps over a fork: the child publishes by connections and threads of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from redis_servers import RedisServer
from time_limits import check_time

#: The child cancels the run of its parent, and both processes publish afterwards.
SCRIPT = """
import json, os, time
from scrape_do_celery import enqueue
handle = enqueue(["https://a.example/"])
app_context = handle._app_context
reader, writer = os.pipe()
if os.fork() == 0:
    began = time.monotonic()
    taken = [app_context.publish("scrape_do.unknown", [str(n)]) for n in range(2)]
    os.write(writer, json.dumps([taken, handle.cancel(), time.monotonic() - began]).encode())
    os._exit(0)
os.wait()
print(os.read(reader, 1000).decode())
print(json.dumps(app_context.publish("scrape_do.unknown", ["parent"])))
"""


def test_a_child_of_a_fork_publishes_at_once(tmp_path):
    with RedisServer(tmp_path / "server") as server:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPE_DO_")}
        done = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", "-c", SCRIPT],
            env={**environment, "SCRAPE_DO_REDIS_URL": server.url, "SCRAPE_DO_PUBLISH_TIMEOUT": "20"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        child, parent = map(json.loads, done.stdout.splitlines())
        assert child[:2] == [[True, True], True]
        check_time(child[2], 15, "a child that waits for its parent's thread waits for the deadline of 20 s")
        assert parent is True
        queue = server.open_client(db=1).llen("scrape_do")
    assert queue == 4  # the first step, two messages of the child, and one of the parent; an unsent run needs no step
