"""The group of all commands: it turns errors into one readable line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import click
from kombu.exceptions import OperationalError
from pydantic import ValidationError
from redis.exceptions import RedisError

from scrape_do_celery.cli.exit_codes import ExitCode
from scrape_do_celery.cli.output import printable, wants_color
from scrape_do_celery.config import SettingsWarning
from scrape_do_celery.errors import ResultNotReadyError, ScrapeDoError, StoreUnavailableError
from scrape_do_celery.errors.base import advise_on_outage
from scrape_do_celery.models import RequestWarning
from scrape_do_celery.rules.target_lines import TargetFileError

if TYPE_CHECKING:
    from collections.abc import Iterator


class NotYet(click.ClickException):
    """An exit because the run has not ended."""

    exit_code = ExitCode.NOT_ENDED


class WrongInput(click.ClickException):
    """An exit because the call or its input is wrong. Nothing was written."""

    exit_code = ExitCode.USAGE


class CommandGroup(click.Group):
    """A group whose commands may raise the errors of the library."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command and return its value.

        Raises:
            click.ClickException: an error that the user can act on.
        """
        ctx.with_resource(_plain_warnings())
        ctx.with_resource(_escaped_output())
        if not wants_color():
            ctx.color = False
        try:
            return super().invoke(ctx)
        except ResultNotReadyError as error:
            raise NotYet(printable(str(error))) from None
        except StoreUnavailableError as error:
            raise _make_failure(f"{error}{advise_on_outage(error)}") from None
        except ScrapeDoError as error:
            raise _make_failure(f"{type(error).__name__}: {error}") from None
        except ValueError as error:
            raise WrongInput(printable(describe_fault(error))) from None
        except RedisError as error:
            raise _make_failure(
                f"the store does not answer ({type(error).__name__}): {error}; check the server and SCRAPE_DO_REDIS_URL"
            ) from None
        except BrokenPipeError:
            _discard_output()
            raise click.exceptions.Exit(ExitCode.BROKEN_PIPE) from None
        except KeyboardInterrupt:
            click.echo(err=True)
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
        except (OperationalError, OSError) as error:
            raise _make_failure(f"{type(error).__name__}: {error}{_advise_on_port(error)}") from None


def describe_fault(error: ValueError) -> str:
    """Return the reason for which an input is refused, on one line."""
    if isinstance(error, ValidationError):
        return "; ".join(_fault_text(item) for item in error.errors(include_url=False))
    # The names of these classes say nothing to a caller of a command.
    return str(error) if type(error) in {ValueError, TargetFileError} else f"{type(error).__name__}: {error}"


def _advise_on_port(error: Exception) -> str:
    is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    return "; another process listens there: end that process, or choose another port by --port" if is_taken else ""


def _discard_output() -> None:
    """Send the rest of the output nowhere: its reader is gone, and Python's last flush would complain once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        # A stream in memory has no descriptor.
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


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


@contextmanager
def _escaped_output() -> Iterator[None]:
    """Escape characters that the encoding of the terminal lacks, such as those of a page under the locale POSIX."""
    changed: list[tuple[TextIOWrapper, str]] = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            changed.append((stream, str(stream.errors)))
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in changed:
            # A closed pipe cannot be flushed.
            with suppress(OSError, ValueError):
                stream.reconfigure(errors=errors)
