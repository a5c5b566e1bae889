"""Find the parameter sets of a plugin that have an answer, and the answer of each set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.echoes import is_contrary, match_answers, read_echo

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
    echoes = _read_echoes(reader, store)
    if not echoes:
        return set()
    if len(reader.named) != len(sets):
        return None
    if len(echoes) == len(sets):
        return set(echoes)
    matched = match_answers(sets, echoes.values())
    if matched is not None:
        return set(matched)
    is_disproved = any(is_contrary(sets[position], echo or {}) for position, echo in echoes.items())
    return set(echoes) if trust_order and not is_disproved else None


def place_answers(reader: PartReader, store: Store, sets: Sequence[dict[str, Any]]) -> tuple[list[int], bool]:
    """Return the position of each set's task in the job, and whether the answers prove it.

    Without a proof, the order of the job stands: a child was only bought if the caller trusted this order.

    Raises:
        ResultExpiredError: tasks were stored, and have expired.
    """
    echoes, in_order = _read_echoes(reader, store), list(range(len(reader.named)))
    matched = match_answers(sets, echoes.values()) if len(in_order) == len(sets) else None
    if matched is None:
        return in_order, False
    of_set, others = dict(zip(matched, echoes, strict=True)), iter([at for at in in_order if at not in echoes])
    return [of_set[index] if index in of_set else next(others) for index in range(len(sets))], True


def _read_echoes(reader: PartReader, store: Store) -> dict[int, dict[str, str] | None]:
    """Return the echo of each answer with a page, by position. Pages of a whole part would take too much memory."""
    stored = reader.read_stored(store, range(len(reader.named)))
    return {position: _read_task_echo(task) for position, task in stored if task.has_page}


def _read_task_echo(task: TaskDetails) -> dict[str, str] | None:
    try:
        return read_echo(task.decoded_content())
    except ValueError:
        return None
