"""Match the tasks of a job with its targets."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

from scrape_do_celery.models import match_targets
from scrape_do_celery.models.urls import loose_form, whatwg_form

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def decide_order(
    targets: Sequence[str], named: Sequence[str], own: Mapping[int, str] | None = None
) -> tuple[list[int], bool]:
    """Return the position of each target's task, and whether the URLs prove all positions.

    `named`: the URLs of the tasks in the job's summary, an empty text if the summary shows none. `own`: the URLs in the
    tasks' own answers, by position. The summary decides; if it names no URL, the task's own URL decides. Nothing is
    proven unless the own URLs prove the same. A task without an own answer, such as a gone task, does not count.
    """
    own = own or {}
    positions, proven = match_targets(targets, [url or own.get(position, "") for position, url in enumerate(named)])
    return positions, proven and _is_confirmed(targets, positions, own)


class OwnUrls:
    """The comparison of the URLs in the tasks' own answers with the targets that the job's summary gives them."""

    def __init__(self, targets: Sequence[str]) -> None:
        self._targets = targets

    def is_of(self, index: int, url: str) -> bool:
        """Return whether `url` is that of the target `index`, and surely of no other target."""
        target = self._targets[index]
        if url == target:
            return True
        form = whatwg_form(target)
        return whatwg_form(url) == form or (
            loose_form(url) == loose_form(target) and self._forms[loose_form(target)] == {form}
        )

    @cached_property
    def _forms(self) -> Mapping[str, set[str]]:
        """The WHATWG forms of the targets of each loose form."""
        found: dict[str, set[str]] = defaultdict(set)
        for target in self._targets:
            found[loose_form(target)].add(whatwg_form(target))
        return found


def _is_confirmed(targets: Sequence[str], positions: Sequence[int], own: Mapping[int, str]) -> bool:
    told = [(target, own[at]) for target, at in zip(targets, positions, strict=True) if at in own]
    wanted = [target for target, _ in told]
    matched, proven = match_targets(wanted, [url for _, url in told])
    # Targets of one WHATWG form have one page, so their tasks may swap positions.
    return proven and all(
        mine == theirs or whatwg_form(wanted[mine]) == whatwg_form(wanted[theirs])
        for mine, theirs in enumerate(matched)
    )
