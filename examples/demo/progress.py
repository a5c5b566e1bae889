"""Print the stages of a run as they happen: lines of text, with a spinner below them on a terminal."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from scrape_do_celery import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scrape_do_celery import RunHandle, RunStatus

    Show = Callable[[str], None]

#: The number of targets up to which stored pages are counted; above it, only at the end. Counting reads all pages.
_COUNTED = 100


class Stages:
    """The stages of one run, each printed once."""

    def __init__(self, handle: RunHandle) -> None:
        self._handle = handle
        self._told: set[str] = set()

    def new(self, status: RunStatus) -> list[str]:
        """Return the lines that have not been printed yet."""
        lines = [line for line in self._lines(status) if line not in self._told]
        self._told.update(lines)
        return lines

    def _lines(self, status: RunStatus) -> Iterator[str]:
        if status.state is RunState.RECONCILING:
            yield "the answer to the purchase was lost: the worker looks for the job"
        for job in status.jobs:
            yield f"job bought: {job}"
        if status.waiting_for:
            yield f"waiting: {status.waiting_for}"
        known = status.done + status.failed
        if status.has_ended:
            yield f"fetched {known} of {status.total} results"
            yield f"run {status.state.value}: {status.done} succeeded, {status.failed} failed"
        elif status.state is RunState.FETCHING and status.total <= _COUNTED:
            yield f"fetched {sum(1 for _ in self._handle.iter_tasks(partial=True))} of {status.total} results"
        elif known:
            # The store learns these figures only from a poll, so nothing can be printed before.
            yield f"polled: {known} of {status.total} pages ready"


def doing(status: RunStatus) -> str:
    """Return the words for a spinner: the work that the run waits for."""
    if not status.jobs:
        return "the worker buys a job ..."
    if status.state is RunState.FETCHING:
        return "the worker fetches the results ..."
    return "Scrape.do loads the pages, the worker polls ..."


@contextmanager
def telling() -> Iterator[tuple[Show, Show]]:
    """Yield two functions: to print a line with the seconds since the start, and to name the work that goes on."""
    since = time.monotonic()

    def stamped(line: str) -> str:
        return f"{time.monotonic() - since:7.1f} s  {line}"

    if not (sys.stdout.isatty() and find_spec("rich")):
        yield lambda line: _plain(stamped(line)), lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    with console.status("") as spinner:
        yield lambda line: console.print(Text(stamped(line))), lambda work: spinner.update(Text(work))


def _plain(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
