"""Checks for django-health-check, from version 4.0: the store, a worker, and the account of Scrape.do.

Each check sends one command to the store. None calls the API. A message shows no address, user or password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable
from redis.exceptions import RedisError

from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.rules.waits import WaitKind
from scrape_do_celery.runs import AppContext
from scrape_do_celery.store.commands.health import CheckHealth
from scrape_do_celery.store.deadlines import limited_time

if TYPE_CHECKING:
    from scrape_do_celery.rules.waits import WaitingFor


@dataclass
class _ScrapeDoCheck(HealthCheck):  # type: ignore[misc]  # the package has no types
    """A check that fails if a run which is enqueued now would wait for one of its reasons."""

    #: the time within which the store must answer
    timeout: timedelta = field(default=timedelta(seconds=2), repr=False)
    kind: ClassVar[WaitKind]
    writes: ClassVar[bool] = False

    def run(self) -> None:
        """Check what a new run needs.

        Raises:
            ServiceUnavailable: it is missing, or the store does not answer.
        """
        for wait in self._read_waits():
            if wait.kind is self.kind:
                raise ServiceUnavailable(wait.text)

    def _read_waits(self) -> list[WaitingFor]:
        """Return why a new run would wait. Keep the server's own words out of messages: they name its address."""
        try:
            app_context = AppContext.for_app()
            settings = app_context.settings
            command = CheckHealth(settings.known_account, settings.token_id, self.writes)
            with limited_time(self.timeout.total_seconds()):
                return app_context.store.run(command)
        except ConfigurationError as error:
            text = "the settings of Scrape.do are wrong; `manage.py check` and `scrape-do doctor` name the fault"
            raise ServiceUnavailable(text) from error
        except StoreUnavailableError as error:
            what = f"refuses the check ({error.reason})" if error.reason else "does not answer"
            raise ServiceUnavailable(f"the store {what}; `scrape-do doctor` says more") from error
        except RedisError as error:
            text = f"the store refuses the check ({type(error).__name__}); `scrape-do doctor` says more"
            raise ServiceUnavailable(text) from error


@dataclass
class ScrapeDoStore(_ScrapeDoCheck):
    """Check that the store answers, takes writes, and has room for new runs."""

    kind = WaitKind.STORE_FULL
    writes = True


@dataclass
class ScrapeDoWorker(_ScrapeDoCheck):
    """Check that a worker serves the store, or has served it within the last 30 seconds."""

    kind = WaitKind.NO_WORKER


@dataclass
class ScrapeDoAccount(_ScrapeDoCheck):
    """Check that workers have met no refusal of the token. Without a token and an account name, check all accounts."""

    kind = WaitKind.TOKEN_REFUSED
