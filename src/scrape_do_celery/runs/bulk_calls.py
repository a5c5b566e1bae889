"""Cancel, retry or forget all runs with some properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scrape_do_celery.runs.bulk import BulkCall
from scrape_do_celery.runs.bulk_actions import CancelAction, ForgetAction, RetryAction

if TYPE_CHECKING:
    from datetime import datetime

    from scrape_do_celery.config import Settings
    from scrape_do_celery.rules.outcomes import RunState
    from scrape_do_celery.runs.bulk import RunFilters
    from scrape_do_celery.runs.bulk_reports import BulkReport


def cancel_runs(  # noqa: PLR0913 (one argument for each filter)
    *,
    state: RunState | Literal["live", "ended"] | None = None,
    tag: str | None = None,
    label: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    everything: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    cursor: str | None = None,
    settings: Settings | None = None,
) -> BulkReport:
    """Cancel all live runs with some properties, as `RunHandle.cancel` does.

    Only runs that were written before the call began are canceled, the newest first. To carry on an interrupted call,
    repeat the call with its `until`, and with its `cursor` if you have one. A repetition without the cursor is as safe.

    Args:
        state: as in `list_runs`. None for all live runs.
        tag: as in `list_runs`.
        label: as in `list_runs`.
        since: as in `list_runs`.
        until: the time before which the runs were written. None, and a later time, are the store's time at the start.
        everything: all live runs of the store. Without a filter but `until`, the call needs this consent.
        dry_run: report what the call would do. Nothing is written.
        limit: the number of runs to look at. The report then has the cursor of the next call. None for all.
        cursor: the cursor of an earlier report. The filters and `until` must be the same.
        settings: settings of this call. None takes those of the framework or of the environment.

    Returns:
        What was done, what was left alone, and why.

    Raises:
        ValueError: an argument is wrong, or no filter is given. Nothing was written.
        StoreUnavailableError: Redis did not answer. The text says how to carry on.
    """
    filters: RunFilters = {"state": state, "tag": tag, "label": label, "since": since, "until": until}
    action = CancelAction(settings)
    return BulkCall(action, filters, everything=everything, dry_run=dry_run, limit=limit, cursor=cursor).finish()


def retry_runs(  # noqa: PLR0913 (one argument for each filter)
    *,
    state: RunState | Literal["live", "ended"] | None = None,
    tag: str | None = None,
    label: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    everything: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    cursor: str | None = None,
    trust_order: bool = False,
    max_credits: float | None = None,
    settings: Settings | None = None,
) -> BulkReport:
    """Start a child for each lineage that lacks pages and has a run with some properties, as `retry_failed` does.

    A lineage gets one child at most, also if several of its runs have the properties, if two calls meet it at once, or
    if the call is repeated with its `until`. Runs that begin during the call, such as the children, are never retried.

    Args:
        state: as in `list_runs`. Live runs are left alone.
        tag: as in `list_runs`.
        label: as in `list_runs`.
        since: as in `list_runs`.
        until: as in `cancel_runs`.
        everything: as in `cancel_runs`, for all runs of the store.
        dry_run: report what the call would buy, and its cost. Nothing is written.
        limit: as in `cancel_runs`.
        cursor: as in `cancel_runs`.
        trust_order: as in `retry_failed`.
        max_credits: the limit of each child. None leaves to each child the limit of its run.
        settings: as in `cancel_runs`.

    Returns:
        What was done, what was left alone, and why. A child that a budget refuses counts as failed.

    Raises:
        ValueError: an argument is wrong, or no filter is given. Nothing was written.
        StoreUnavailableError: Redis did not answer. The text says how to carry on.
    """
    filters: RunFilters = {"state": state, "tag": tag, "label": label, "since": since, "until": until}
    action = RetryAction(settings, trust_order=trust_order, max_credits=max_credits)
    return BulkCall(action, filters, everything=everything, dry_run=dry_run, limit=limit, cursor=cursor).finish()


def forget_runs(  # noqa: PLR0913 (one argument for each filter)
    *,
    state: RunState | Literal["live", "ended"] | None = None,
    tag: str | None = None,
    label: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    everything: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    cursor: str | None = None,
    settings: Settings | None = None,
) -> BulkReport:
    """Delete all ended runs with some properties and their pages, as `RunHandle.forget` does.

    Live runs, runs with a purchase in doubt, and records of a newer version are left alone. The same holds for runs
    whose export has not ended, and for runs of a lineage with a live run.

    Args:
        state: as in `list_runs`.
        tag: as in `list_runs`.
        label: as in `list_runs`.
        since: as in `list_runs`.
        until: as in `cancel_runs`.
        everything: as in `cancel_runs`, for all runs of the store.
        dry_run: report what the call would delete. Nothing is written.
        limit: as in `cancel_runs`.
        cursor: as in `cancel_runs`.
        settings: as in `cancel_runs`.

    Returns:
        What was done, what was left alone, and why.

    Raises:
        ValueError: an argument is wrong, or no filter is given. Nothing was written.
        StoreUnavailableError: Redis did not answer. The text says how to carry on.
    """
    filters: RunFilters = {"state": state, "tag": tag, "label": label, "since": since, "until": until}
    action = ForgetAction(settings)
    return BulkCall(action, filters, everything=everything, dry_run=dry_run, limit=limit, cursor=cursor).finish()
