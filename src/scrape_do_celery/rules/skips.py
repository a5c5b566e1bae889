"""Which runs a bulk call leaves alone, and why; and the time before which the runs of a bulk call were written."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final, Self

#: Fractions of a second that the record of a run has of its creation.
_FRACTIONS: Final = 10_000


class SkipReason(StrEnum):
    """Why a bulk call leaves a run alone."""

    text: str  #: the reason in words

    def __new__(cls, name: str, text: str) -> Self:
        """Make a reason with its words."""
        made = str.__new__(cls, name)
        made._value_, made.text = name, text
        return made

    ENDED = "ended", "the run has ended already"
    LIVE = "live", "the run has not ended"
    IN_DOUBT = "in_doubt", "a job may have been bought, and was not found: read the ledger first"
    COMPLETE = "complete", "each target has an answer"
    RETRIED = "retried", "another run of its lineage is live, began after this call, or is retried by this call"
    EXPORTING = "exporting", "its export has not ended"
    UNCOUNTED = "uncounted", "the count that was confirmed did not include it: the run has changed since"
    NEWER = "newer", "a newer version wrote the record: upgrade this process"
    UNKNOWN = "unknown", "the store has no record of the run any more"


def fix_until(clock: float, until: float | None) -> float:
    """Return the time before which the runs of a bulk call were written. `clock` is the store's time now.

    A run that begins after this call is never written before that time: the record rounds the time of its creation.
    """
    now = math.floor(clock * _FRACTIONS) / _FRACTIONS
    return now if until is None else min(now, until)


def find_retry_skip(
    *, is_live: bool, is_child: bool, is_handled: bool, created: float, until: float
) -> SkipReason | None:
    """Return why a bulk call does not retry a lineage; None if it may. The arguments are about its newest run.

    A child that began at `until` or later was started by this bulk call, by its repetition, or by somebody beside it.
    Without that rule, a repetition would buy what such a child has failed to get.

    Args:
        is_live: whether the newest run has not ended.
        is_child: whether the newest run is another one than the run that the filters have found.
        is_handled: whether this call has met the lineage by another of its runs.
        created: when the newest run was written.
        until: the time before which the runs of the bulk call were written.
    """
    if is_handled or created >= until or (is_live and is_child):
        return SkipReason.RETRIED
    return SkipReason.LIVE if is_live else None


def find_forget_skip(*, is_live: bool, is_in_doubt: bool, awaits_export: bool, is_retried: bool) -> SkipReason | None:
    """Return why a run is not forgotten; None if it may be. The record of a purchase in doubt is its only trace.

    Args:
        is_live: whether the run has not ended.
        is_in_doubt: whether the run may have bought a job that was not found.
        awaits_export: whether its export goes on. If the export failed, the pages would be lost.
        is_retried: whether a run of its lineage is live. Without this run, nobody can merge the pages of both.
    """
    found = {
        SkipReason.LIVE: is_live,
        SkipReason.IN_DOUBT: is_in_doubt,
        SkipReason.EXPORTING: awaits_export,
        SkipReason.RETRIED: is_retried,
    }
    return next((reason for reason, holds in found.items() if holds), None)
