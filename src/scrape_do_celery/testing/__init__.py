"""Tools for the tests of applications: a sandbox with named faults, a worker in the test's process, a movable clock.

pytest finds the fixtures through `scrape_do_pytest`. The package is loaded when a test requests a fixture. Test cases
of `unittest` inherit from `ScrapeDoMixin`.
"""

from __future__ import annotations

from scrape_do_celery.testing.clock import Clock
from scrape_do_celery.testing.faults import FAULTS, Fault
from scrape_do_celery.testing.mixin import ScrapeDoMixin
from scrape_do_celery.testing.sandbox import Sandbox
from scrape_do_celery.testing.worker import Worker

__all__ = ["FAULTS", "Clock", "Fault", "Sandbox", "ScrapeDoMixin", "Worker"]
