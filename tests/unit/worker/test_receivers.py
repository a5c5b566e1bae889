"""Test that the receivers of signals are called when no event loop runs in their OS thread."""

from __future__ import annotations

import subprocess
import sys

GREENLETS = """
import gevent.monkey
gevent.monkey.patch_all()
import asyncio, gevent
from celery import Celery
from celery.utils.dispatch import Signal
from scrape_do_celery.worker import receivers

app, signal, seen = Celery(set_as_current=False), Signal(name="told", providing_args={"value"}), []

def receive(value, **_):
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        seen.append(value)
    else:
        raise ValueError("a loop runs, so Django would refuse each query")

signal.connect(receive)
task = gevent.spawn(asyncio.run, asyncio.sleep(0.5))
gevent.sleep(0.1)
assert receivers.call_receivers(signal, app, [{"value": 1}, {"value": 2}]) == [True, True]
assert seen == [1, 2]
# A loop that stays open does not hold up the other signals of the worker.
receivers._PATIENCE = 0.1
task = gevent.spawn(asyncio.run, asyncio.sleep(60))
gevent.sleep(0.1)
assert receivers.call_receivers(signal, app, [{"value": 3}]) == [False]
task.kill()
print("passed")
"""


def test_receivers_wait_for_the_end_of_event_loops_in_other_greenlets():
    ran = subprocess.run([sys.executable, "-c", GREENLETS], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.returncode) == ("passed\n", 0), ran.stderr
