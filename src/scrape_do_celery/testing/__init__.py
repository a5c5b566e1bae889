"""For the tests of applications: a sandbox with faults by name, a worker in the test's process, a clock to be moved.

pytest finds the fixtures by itself, through `scrape_do_pytest`; this package is loaded when one of them is asked for.
"""

from __future__ import annotations

from scrape_do_celery.testing.clock import Clock
from scrape_do_celery.testing.faults import FAULTS, Fault
from scrape_do_celery.testing.sandbox import Sandbox
from scrape_do_celery.testing.worker import Worker

__all__ = ["FAULTS", "Clock", "Fault", "Sandbox", "Worker"]
