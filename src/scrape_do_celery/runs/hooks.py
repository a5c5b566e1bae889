"""The hooks of a process's framework: the source of settings, the end of transactions, the clocks of tests."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrape_do_celery.config import Settings
from scrape_do_celery.runs.timing import ProcessTiming

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


def _in_no_transaction() -> None:
    return None


def _find_no_runner() -> str:
    return ""


def _do_nothing() -> None:
    pass


def _read_no_entries() -> list[tuple[Any, bool]]:
    return []


@dataclass(frozen=True, slots=True)
class FrameworkHooks:
    """The hooks of one framework. The defaults, for no framework, read the environment and defer nothing."""

    #: Returns the settings for callers that pass none.
    settings: Callable[[], Settings] = Settings
    #: In a transaction, returns a function that defers an action to the commit. A rollback drops the action.
    after_commit: Callable[[], Callable[[Callable[[], object]], object] | None] = _in_no_transaction
    #: Makes a short call of an async caller on the thread that has the caller's transaction. All tasks of a request, or
    #: of the process, share this thread, so no call may wait on it. None: no thread has a transaction.
    call_from_async: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None
    #: Called before and after work in a thread without requests: its database connections may idle for long.
    close_connections: Callable[[], object] = _do_nothing
    #: Returns the name of the framework's test runner if it runs tests in this process, else an empty text.
    test_runner: Callable[[], str] = _find_no_runner
    #: Returns the arguments of each schedule in a database of beat, and whether beat publishes it.
    stored_entries: Callable[[], list[tuple[Any, bool]]] = _read_no_entries
    #: The URL and the key prefix of the store that was given to the present test.
    test_store: tuple[str, str] | None = None
    #: The clocks and intervals of the process. Frameworks leave them alone, and tests override them.
    timing: ProcessTiming = field(default_factory=ProcessTiming)


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
    """Make `hooks` return `override` of the installed hooks, also of hooks that are installed later. For tests."""
    global _override  # noqa: PLW0603 (as above)
    before, _override = _override, override
    try:
        yield
    finally:
        _override = before
