"""The fields of log records, so that a formatter can show and a search can find the objects of a message."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from scrape_do_celery.outside_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: The step that runs in this context, such as `submit`; empty outside of steps.
_current_step: Final[ContextVar[str]] = ContextVar("scrape_do_step", default="")
#: The fields of the run that is worked on in this context.
_current_run: Final[ContextVar[Mapping[str, str | int | None]]] = ContextVar("scrape_do_run")
_NO_RUN: Final[Mapping[str, str | int | None]] = {"label": None, "hosts": None, "targets": None}


class OutsideTextFilter(logging.Filter):
    """A filter that keeps the arguments of a record on one line: they may hold text of the API or of targets."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True. Replace each argument whose text is more than one plain line."""
        if isinstance(record.args, tuple):
            record.args = tuple(_one_line_argument(one) for one in record.args)
        return True


def _one_line_argument(value: Any) -> Any:
    if isinstance(value, int | float) or (text := str(value)).isprintable():
        return value
    return one_line(text)


_OUTSIDE_TEXT: Final = OutsideTextFilter()


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module of this package. Its records cannot forge lines of a log."""
    logger = logging.getLogger(name)
    # A logger keeps one filter, however often this function is called.
    logger.addFilter(_OUTSIDE_TEXT)
    return logger


@contextmanager
def in_step(step: str) -> Iterator[None]:
    """Name the step in the log records of a block, and of the coroutines that the block runs."""
    # A formatter may write the value by `repr`, which shows a member of an enum in another way.
    token = _current_step.set(str(step))
    try:
        yield
    finally:
        _current_step.reset(token)


@contextmanager
def about_run(names: Mapping[str, str | int | None]) -> Iterator[None]:
    """Name the run in the log records of a block: its `label`, its `hosts`, and the number of its `targets`."""
    token = _current_run.set(names)
    try:
        yield
    finally:
        _current_run.reset(token)


class PartName(Protocol):
    """The id of a part: its run, and its number in the run."""

    @property
    def run_id(self) -> str:
        """The id of the run."""

    @property
    def part(self) -> int:
        """The number of the part."""


def log_fields(
    event: str, part_id: PartName | None = None, *, run_id: str | None = None, account: str | None = None
) -> dict[str, Any]:
    """Return the `extra` of a log call. Each record has the same fields, so that a format string can name them.

    Args:
        event: the name of the event, which stays the same if the text of the message changes.
        part_id: the part that the message is about.
        run_id: the run that the message is about, if it is not about one part.
        account: the account that the message is about.
    """
    return {
        "event": event,
        "run_id": run_id if part_id is None else part_id.run_id,
        "part": None if part_id is None else part_id.part,
        "step": _current_step.get() or None,
        "account": account,
        **_NO_RUN,
        **_current_run.get(_NO_RUN),
    }
