"""The mixin for tests of Django projects: no test buys a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.test import TestCase

from scrape_do_celery import testing
from scrape_do_celery.errors import ConfigurationError

if TYPE_CHECKING:
    from scrape_do_celery.testing import Worker

__all__ = ["ScrapeDoMixin"]


class ScrapeDoMixin(testing.ScrapeDoMixin):
    """Give each test its own store, sandbox and settings. Put the mixin before Django's class of the test case."""

    def start_scrape_do_worker(self) -> Worker:
        """Start a worker, as the mixin of `scrape_do_celery.testing` does.

        Raises:
            ConfigurationError: the test case is a `TestCase`, whose rows no worker sees.
        """
        if isinstance(self, TestCase):
            raise ConfigurationError(
                f"{type(self).__name__} is a django.test.TestCase: its transaction is never committed, so a worker "
                "sees none of its rows. Inherit from ScrapeDoMixin and django.test.TransactionTestCase"
            )
        return super().start_scrape_do_worker()
