"""Decide what deliveries of webhooks mean for the tasks of a part. No I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.rules.ids import is_placeholder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scrape_do_celery.models import TaskDetails


def map_positions(task_ids: Iterable[str]) -> dict[str, int]:
    """Return the position of each task that the API has named, by its id in lower case."""
    return {task_id.lower(): at for at, task_id in enumerate(task_ids) if not is_placeholder(task_id)}


def find_position(positions: Mapping[str, int], total: int, task_id: str) -> int | None:
    """Return the position of a task of the part's job; None if the job may have such a task, which no answer named.

    Raises:
        LookupError: the job has a task for each of the `total` targets, and none of them has this id.
    """
    at = positions.get(task_id.lower())
    if at is None and task_id and len(positions) >= total:
        raise LookupError(task_id)
    return at


def is_page(task: TaskDetails | None) -> bool:
    """Return whether a delivered task has a page that may be stored."""
    return task is not None and task.is_success and bool(task.content)


def replaces_delivered(task: TaskDetails) -> bool:
    """Return whether a fetched task replaces a delivered page: only if the task is an answer of the API.

    A task that is gone, too large, unreadable or given up says nothing about the page.
    """
    return not (task.gone or task.too_large or task.unreadable or task.given_up)
