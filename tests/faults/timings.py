"""The times of the lab: short, so that lost work is recovered soon. Nothing else differs from production."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scrape_do_celery.steps import fetch as collecting
from scrape_do_celery.steps import fetch_task, token_check
from scrape_do_celery.store.commands import dispatch, limits, parts, polling, runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

#: Seconds until the dispatcher publishes a lost step message again, at first and at most; 5 and 300 in production.
REDISPATCH_MIN, REDISPATCH_MAX = 0.8, 2.0

#: Seconds until a refused account is probed again, at first and at most; 1 and 60 in production.
PROBE, LONGEST_PROBE = 0.3, 1.0
#: Seconds for which an answer about the account stands; 10 in production.
ACCOUNT_STATUS_TTL = 0.2
#: Redelivery of a dead worker's messages; its visibility timeout is 900 s in production.
RESTORE = {"visibility_timeout": 4, "unacked_restore_interval": 1, "unacked_mutex_expire": 2}

SETTINGS: dict[str, Any] = {
    "lease_seconds": 1.5,
    "submit_deadline": 1.0,
    "submit_visibility_grace": 1.0,
    "request_timeout": 8.0,
    "poll_initial_interval": 0.1,
    "poll_max_interval": 0.3,
    "cancel_grace": 10.0,
    "poison_after": 50,
    # A low limit, so that some parts wait for a slot.
    "max_active_jobs": 40,
}
#: Due running jobs up to which each is polled individually, and the list's pages that are not full; 20 and 4 in
#: production.
ONE_BY_ONE, ODD_PAGES = 3, 1
#: Seconds between two list polls; 0.5 in production.
REST = 0.1
#: Seconds after which a part with pages left goes to the end of the queue; 2 in production.
SLICE = 0.3


def constants() -> Iterator[tuple[ModuleType, str, float]]:
    """Return each constant that the lab shortens: its module, its name and its value in the lab."""
    for module in (dispatch, parts, polling, runs):
        yield module, "REDISPATCH_MIN", REDISPATCH_MIN
    yield dispatch, "REDISPATCH_MAX", REDISPATCH_MAX
    yield from ((fetch_task, "SLICE", SLICE), (collecting, "_REQUEUE_DELAY", REDISPATCH_MIN))
    yield from ((polling, "ONE_BY_ONE", ONE_BY_ONE), (polling, "ODD_PAGES", ODD_PAGES), (polling, "_REST", REST))
    yield token_check, "_STANDS", ACCOUNT_STATUS_TTL
    for module in (limits, parts):
        yield from ((module, "PROBE", PROBE), (module, "LONGEST_PROBE", LONGEST_PROBE))


def shorten_times() -> None:
    """Shorten the times that no setting holds, for the rest of this process."""
    for module, name, value in constants():
        setattr(module, name, value)


@contextmanager
def times_shortened() -> Iterator[None]:
    """Shorten the times that no setting holds until the end of the block.

    Without the restore, a later test of the same process would run with the lab's times.
    """
    before = [(module, name, getattr(module, name)) for module, name, _ in constants()]
    shorten_times()
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
