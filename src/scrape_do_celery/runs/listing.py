"""List runs by state, tag, label and time, the newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from scrape_do_celery.config.budget_limits import check_tag
from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import show_key
from scrape_do_celery.rules.run_filters import STATE_WORDS
from scrape_do_celery.runs.async_enqueue import lend_app
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.runs.threads import call_in_thread
from scrape_do_celery.store.commands.listing import ListRuns, RunPosition
from scrape_do_celery.store.option_checks import check_label

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings
    from scrape_do_celery.rules.outcomes import RunState

#: Runs of a page, at most.
MAX_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of the list of runs."""

    #: the statuses of the runs, the newest run first. Their `waiting_for` is None: `RunHandle.status` reads it
    runs: tuple[RunStatus, ...]
    #: the cursor of the next page; None if no run follows. A page may be short, or empty, and have a cursor
    cursor: str | None
    #: the ids of runs that a newer version of this package wrote, and that this version cannot read
    newer: tuple[str, ...] = ()


def list_runs(  # noqa: PLR0913 (one argument for each filter)
    *,
    state: RunState | Literal["live", "ended"] | None = None,
    tag: str | None = None,
    label: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
    cursor: str | None = None,
    settings: Settings | None = None,
) -> RunPage:
    """Return a page of the runs of the store, the newest first.

    A run is in the list from the moment at which it is written, also while its call waits for a time or for another
    run. It leaves the list when it is forgotten, and up to an hour before its record expires. Runs that
    an older version of this package has written, without labels, are not in the list.

    The store finds runs by time, outcome, label and tag at once. For a state of live runs, such as `queued`, and for a
    label together with a tag, it reads up to 1,000 records, and then returns a short page with a cursor.

    Args:
        state: a state, or `live` for all runs without an outcome, or `ended` for all others. None for any.
        tag: a tag that the runs have.
        label: the label of the runs.
        since: the time from which on the runs were written.
        until: the time before which the runs were written.
        limit: the number of runs, from 1 to 1,000.
        cursor: the cursor of the page before. The other filters must be the same. Runs that begin or end between two
            pages neither repeat nor hide another run.
        settings: settings of this call. None takes those of the framework or of the environment.

    Returns:
        The page.

    Raises:
        ValueError: an argument is wrong.
        StoreUnavailableError: Redis did not answer, or refused.
    """
    command = ListRuns(
        _check_limit(limit),
        state=_check_state(state),
        tag=None if tag is None else check_tag(tag),
        label=check_label(label),
        since=read_time("since", since),
        before=read_time("until", until),
        position=None if cursor is None else RunPosition.parse(_check_text("cursor", cursor)),
    )
    context = AppContext.for_app(settings=settings)
    with context.limited_call():
        found = context.store.run(command)
    statuses = tuple(map(RunStatus.from_record, found.records))
    return RunPage(statuses, None if found.position is None else str(found.position), found.newer)


async def alist_runs(  # noqa: PLR0913 (as `list_runs`)
    *,
    state: RunState | Literal["live", "ended"] | None = None,
    tag: str | None = None,
    label: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
    cursor: str | None = None,
    settings: Settings | None = None,
) -> RunPage:
    """Return a page of runs as `list_runs` does, in async code. The event loop is never blocked.

    Args:
        state: as in `list_runs`.
        tag: as in `list_runs`.
        label: as in `list_runs`.
        since: as in `list_runs`.
        until: as in `list_runs`.
        limit: as in `list_runs`.
        cursor: as in `list_runs`.
        settings: as in `list_runs`.

    Returns:
        The page.

    Raises:
        ValueError: an argument is wrong.
        StoreUnavailableError: Redis did not answer, or refused.
    """
    filters: dict[str, Any] = {"state": state, "tag": tag, "label": label, "since": since, "until": until}
    return await call_in_thread(lend_app(partial(list_runs, **filters, limit=limit, cursor=cursor, settings=settings)))


def cursor_behind(status: RunStatus) -> str:
    """Return the cursor of a page that begins behind a run."""
    # The index has the time that the record has, which is rounded as Lua writes times.
    return str(RunPosition(f"{status.created.timestamp():.4f}", status.run_id))


def _check_state(state: Any) -> str | None:
    if state is None or state in STATE_WORDS:
        return None if state is None else str(state)
    hint = suggest_name(str(state), STATE_WORDS)
    raise ValueError(f"state must be one of {', '.join(STATE_WORDS)}; or None: {show_key(state)}{hint}")


def _check_limit(limit: Any) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit must be a whole number from 1 to {MAX_LIMIT:,}")
    return limit


def _check_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, or None; not {type(value).__name__}")  # noqa: TRY004
    return value


def read_time(name: str, moment: Any) -> float | None:
    """Return the seconds since the epoch of a time with a zone; None for None.

    Raises:
        ValueError: the value is no time with a zone.
    """
    if moment is None:
        return None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError(f"{name} must be a datetime with a time zone, such as datetime.now(UTC), or None")
    return moment.timestamp()
