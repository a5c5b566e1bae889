"""Call the receivers of signals from a thread of the worker, with fresh database connections of the framework."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from scrape_do_celery.runs.hooks import hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from celery import Celery

T = TypeVar("T")

#: Seconds for which the calls of a pass wait, together, for the event loops of other greenlets.
_PATIENCE: Final = 2.0
#: Seconds between two looks at these event loops.
_LOOK: Final = 0.002


def call_receivers(signal: Any, app: Celery, values: Iterable[dict[str, Any]]) -> list[bool]:
    """Send a signal once for each of the values. Return for each whether all receivers have succeeded.

    The signal logs the error of a receiver, and calls the others.
    """
    call = partial(_call_outside_of_loops, time.monotonic() + _PATIENCE)
    call(hooks().close_connections)
    answers = [call(partial(signal.send, sender=app, **named)) for named in values]
    call(hooks().close_connections)
    return [not any(isinstance(answer, Exception) for _, answer in each) for each in answers]


def _call_outside_of_loops(until: float, function: Callable[[], T]) -> T:
    """Call a function when no event loop runs in this OS thread, or at the time `until`.

    Under gevent, the user's tasks run their event loops in this OS thread. Beside such a loop, Django refuses queries.
    """
    while _is_loop_running() and time.monotonic() < until:
        time.sleep(_LOOK)
    return function()


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
