"""A worker application that kills itself with SIGKILL at a named point, once.

`DIE=<point>` names an action that comes next (`before ...`) or was just done (`after ...`): a script of the store, a
request to the API, a publication, or a file of an export (`in ...`: written, and not yet under its name).
`celery -A app_kills_itself worker` then runs like any worker of ours, up to that point.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

from scrape_do_celery.client.drivers import AsyncioDriver
from scrape_do_celery.export.sinks import LocalSink
from scrape_do_celery.runs import context as contexts
from scrape_do_celery.store import client
from scrape_do_celery.worker import app

POINT = os.environ["DIE"]


def reach(point):
    """Kill the worker if this is the point."""
    if point == POINT:
        # With a pool of processes the child and its parent must die.
        os.killpg(0, signal.SIGKILL)


def name(command):
    """Return the command's name, with the state that an update writes."""
    if command.script == "update_part" and command.to:
        return f"update_part {command.to}"
    return command.script or type(command).__name__


_run = client.Store.run
_async_run = client.AsyncStore.run
_run_attempt = AsyncioDriver._run_attempt
_publish = contexts.AppContext.publish
_create = LocalSink.create


def run(self, command):
    reach(f"before {name(command)}")
    answer = _run(self, command)
    reach(f"after {name(command)}")
    return answer


async def async_run(self, command):
    reach(f"before {name(command)}")
    answer = await _async_run(self, command)
    reach(f"after {name(command)}")
    return answer


async def attempt(self, sending, *args):
    what = f"{sending.endpoint.method} {'task' if sending.endpoint.path.count('/') > 4 else 'job'}"
    reach(f"before {what}")
    answer = await _run_attempt(self, sending, *args)
    reach(f"after {what}")
    return answer


def publish(self, step, names, **options):
    reach(f"before publish {step}")
    answer = _publish(self, step, names, **options)
    reach(f"after publish {step}")
    return answer


@contextmanager
def create(self, name, **options):
    with _create(self, name, **options) as file:
        yield file
        reach(f"in {name}")
    reach(f"after {name}")


client.Store.run = run
client.AsyncStore.run = async_run
AsyncioDriver._run_attempt = attempt
contexts.AppContext.publish = publish
LocalSink.create = create
__all__ = ["app"]
