"""Watch runs until they end, and explain an interruption."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from scrape_do_celery.cli.exit_codes import ExitCode
from scrape_do_celery.cli.output import printable
from scrape_do_celery.cli.progress import ProgressFigures
from scrape_do_celery.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scrape_do_celery.cli.progress import ProgressView
    from scrape_do_celery.runs import RunHandle, RunStatus

#: Seconds between two looks at the store, first and longest.
_FIRST, _LONGEST = 0.2, 1.0
#: Seconds for which a store may be away while runs are watched: the time of a restart.
_PATIENCE: Final = 60.0


class InterruptibleWork(Protocol):
    """Work of a command that a person may interrupt."""

    def explain_interruption(self) -> str:
        """Return what the interruption leaves behind, and how to come back."""
        ...


class CommandStage(StrEnum):
    """The stage of a command that works with runs. An interruption means something else in each stage."""

    READING = "reading"  #: reads its input; nothing was written
    STARTING = "starting"  #: writes the runs
    WATCHING = "watching"  #: waits for the runs
    SAVING = "saving"  #: reads the pages of ended runs


@dataclass
class WatchedRuns:
    """The runs of a command, and what the command does with them now."""

    #: the words before the name of a command, such as `scrape-do`
    program: str
    run_ids: Sequence[str] = ()
    stage: CommandStage = field(default=CommandStage.READING)

    def explain_interruption(self) -> str:
        """Return what goes on without the command, and how to come back."""
        ids, watch = " ".join(self.run_ids), f"{self.program} watch"
        if self.stage is CommandStage.READING:
            return "Interrupted. Nothing was bought."
        if self.stage is CommandStage.STARTING:
            options = " ".join(f"--run-id {one}" for one in self.run_ids)
            return (
                f"Interrupted while the start was under way. Look whether it was written: {watch} {ids}\n"
                f"To repeat the command without a second purchase, add {options}"
            )
        if self.stage is CommandStage.SAVING:
            return f"Interrupted. The pages are still in the store: {self.program} result {self.run_ids[0]}"
        what, pages = ("The run goes on", "its") if len(self.run_ids) == 1 else ("The runs go on", "their")
        return (
            f"Stopped watching. {what} without this command, and workers collect {pages} pages.\n"
            f"To come back: {watch} {ids}\n"
            f"To cancel:    {self.program} cancel {self.run_ids[0]}"
        )


class _TerminationError(BaseException):
    """SIGTERM arrived. It is no `Exception`, so that no handler takes it for an error of the store."""


def _raise_termination(*_: Any) -> None:
    raise _TerminationError


@contextmanager
def explained_interrupts(work: InterruptibleWork) -> Iterator[None]:
    """End the command with an explanation and the usual exit code after Ctrl-C and SIGTERM.

    Raises:
        click.exceptions.Exit: a signal came.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _raise_termination) if is_main else None
    try:
        yield
    except KeyboardInterrupt:
        # The terminal has printed ^C on the line of the cursor.
        click.echo(f"\n{printable_lines(work.explain_interruption())}", err=True)
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
    except _TerminationError:
        click.echo(printable_lines(work.explain_interruption()), err=True)
        raise click.exceptions.Exit(ExitCode.TERMINATED) from None
    finally:
        if is_main:
            # A handler that was set outside of Python has no name here.
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def printable_lines(text: str) -> str:
    """Return lines without terminal controls."""
    return "\n".join(map(printable, text.splitlines()))


def watch_runs(
    handles: Sequence[RunHandle],
    view: ProgressView,
    *,
    wait: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[RunStatus]:
    """Show the progress of runs until all have ended, or for `wait` seconds. Return their last statuses.

    Raises:
        RunNotFoundError: the store has no such run.
        StoreUnavailableError: the store did not answer the first look, or was away for a minute.
    """
    until = None if wait is None else clock() + wait
    statuses = [handle.status for handle in handles]
    interval = _FIRST
    with view:
        while True:
            view.show(ProgressFigures.of(statuses))
            left = interval if until is None else min(interval, until - clock())
            if left <= 0 or all(one.has_ended for one in statuses):
                return statuses
            sleep(left)
            interval = min(_LONGEST, interval * 1.5)
            statuses = [
                old if old.has_ended else _read_patiently(handle, view, sleep, clock)
                for handle, old in zip(handles, statuses, strict=True)
            ]


def _read_patiently(
    handle: RunHandle, view: ProgressView, sleep: Callable[[float], None], clock: Callable[[], float]
) -> RunStatus:
    """Return the status of a run. A restart of the store must not end a command that has watched for an hour."""
    since = clock()
    while True:
        try:
            return handle.status
        except StoreUnavailableError as error:
            if clock() - since >= _PATIENCE:
                raise
            view.note(f"the store is away, and is asked again: {error}")
            sleep(_LONGEST)
