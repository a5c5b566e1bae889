"""The group of all commands: it turns errors into one readable line and an exit code."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from kombu.exceptions import OperationalError
from pydantic import ValidationError
from redis.exceptions import RedisError

from scrape_do_celery.cli.output import printable
from scrape_do_celery.config import SettingsWarning
from scrape_do_celery.errors import ResultNotReadyError, ScrapeDoError, StoreUnavailableError
from scrape_do_celery.models import RequestWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

WRONG, NOT_YET = 1, 3


class NotYet(click.ClickException):
    """An exit because the run has not ended."""

    exit_code = NOT_YET


class CommandGroup(click.Group):
    """A group whose commands may raise the errors of the library."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command and return its value.

        Raises:
            click.ClickException: an error that the user can act on.
        """
        ctx.with_resource(_plain_warnings())
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            raise _make_failure("; ".join(_fault_text(item) for item in error.errors(include_url=False))) from None
        except ResultNotReadyError as error:
            raise NotYet(printable(str(error))) from None
        except StoreUnavailableError as error:
            raise _make_failure(str(error)) from None
        except (ScrapeDoError, ValueError) as error:
            raise _make_failure(f"{type(error).__name__}: {error}") from None
        except RedisError as error:
            raise _make_failure(
                f"the store does not answer ({type(error).__name__}): {error}; check the server and SCRAPE_DO_REDIS_URL"
            ) from None
        except BrokenPipeError:
            # The reader of the pipe has closed it: click ends without a message.
            raise
        except (OperationalError, OSError) as error:
            raise _make_failure(f"{type(error).__name__}: {error}") from None


def _make_failure(text: str) -> click.ClickException:
    return click.ClickException(printable(text))


def _fault_text(item: Any) -> str:
    where = ".".join(str(step) for step in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    return message if not where or where in message else f"{where}: {message}"


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show a warning about settings or a request on one line, without the line of code."""
    before = warnings.formatwarning

    def format_plainly(message: Warning | str, category: type[Warning], *rest: Any) -> str:
        is_plain = issubclass(category, SettingsWarning | RequestWarning)
        return f"Warning: {printable(str(message))}\n" if is_plain else before(message, category, *rest)

    warnings.formatwarning = format_plainly  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.formatwarning = before
