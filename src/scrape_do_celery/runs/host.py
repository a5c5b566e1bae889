"""What the framework that a process runs in adds: where settings come from, and when its transactions are over."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _in_no_transaction() -> None:
    return None


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Host:
    """A process without a framework: settings come from the environment, and nothing is put off."""

    #: The settings of whoever names none.
    settings: Callable[[], Settings] = Settings
    #: In a transaction of the caller's: what puts an act off until it is committed, and drops it where it is not.
    after_commit: Callable[[], Callable[[Callable[[], object]], object] | None] = _in_no_transaction
    #: Called by a thread that has no requests, before and after it tells of runs: databases may be left alone for long.
    tidy: Callable[[], object] = _nothing


_host = Host()
_change: Callable[[Host], Host] | None = None


def adopt(host: Host) -> None:
    """Makes this process one of the framework's."""
    global _host  # noqa: PLW0603 (a process has one framework, as it has one environment)
    _host = host


def host() -> Host:
    """The framework of this process."""
    return _host if _change is None else _change(_host)


@contextmanager
def changed(change: Callable[[Host], Host]) -> Iterator[None]:
    """Meanwhile `host` tells what `change` makes of the framework, whichever is adopted: for tests of applications."""
    global _change  # noqa: PLW0603 (as above)
    before, _change = _change, change
    try:
        yield
    finally:
        _change = before
