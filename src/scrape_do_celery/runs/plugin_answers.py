"""Find the parameter sets of a plugin that have an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.echoes import is_contrary, prove_answered, read_echo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.models import TaskDetails
    from scrape_do_celery.runs.results import PartReader
    from scrape_do_celery.store import Store


def answered_indexes(
    reader: PartReader, store: Store, sets: Sequence[dict[str, Any]], *, trust_order: bool
) -> set[int] | None:
    """Return the indexes of the parameter sets of a part that have an answer; None if nothing proves them.

    All or none are proven without any order. Otherwise the answers themselves must show their sets, unless the caller
    trusts the order of the job and no answer contradicts that order.

    Raises:
        ResultExpiredError: tasks were stored, and have expired.
    """
    echoes: dict[int, dict[str, str] | None] = {}
    for position, task in reader.read_stored(store, range(len(reader.named))):
        if task.has_page:
            # Keep the echo only: pages of a whole part would take too much memory.
            echoes[position] = _read_task_echo(task)
    if not echoes:
        return set()
    if len(reader.named) != len(sets):
        return None
    if len(echoes) == len(sets):
        return set(echoes)
    proven = prove_answered(sets, echoes.values())
    is_disproved = any(is_contrary(sets[position], echo or {}) for position, echo in echoes.items())
    return set(echoes) if proven is None and trust_order and not is_disproved else proven


def _read_task_echo(task: TaskDetails) -> dict[str, str] | None:
    try:
        return read_echo(task.decoded_content())
    except ValueError:
        return None
