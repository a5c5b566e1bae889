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
class FrameworkHooks:
    """A process without a framework: settings come from the environment, and nothing is put off."""

    #: The settings of whoever names none.
    settings: Callable[[], Settings] = Settings
    #: In a transaction of the caller's: what puts an act off until it is committed, and drops it where it is not.
    after_commit: Callable[[], Callable[[Callable[[], object]], object] | None] = _in_no_transaction
    #: Called by a thread that has no requests, before and after it tells of runs: databases may be left alone for long.
    close_connections: Callable[[], object] = _nothing


_hooks = FrameworkHooks()
_override: Callable[[FrameworkHooks], FrameworkHooks] | None = None


def install_hooks(hooks: FrameworkHooks) -> None:
    """Install the hooks of the framework that this process runs in."""
    global _hooks  # noqa: PLW0603 (a process has one framework, as it has one environment)
    _hooks = hooks


def hooks() -> FrameworkHooks:
    """Return the hooks of this process."""
    return _hooks if _override is None else _override(_hooks)


@contextmanager
def override_hooks(override: Callable[[FrameworkHooks], FrameworkHooks]) -> Iterator[None]:
    """Pass what `hooks` returns through `override`, whichever hooks are installed: for tests of applications."""
    global _override  # noqa: PLW0603 (as above)
    before, _override = _override, override
    try:
        yield
    finally:
        _override = before
