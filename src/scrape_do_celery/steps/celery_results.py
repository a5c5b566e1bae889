"""Ask Celery for the results of ids: whether an outcome was delivered, and which ids were revoked."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from celery.backends.base import DisabledBackend
from celery.backends.redis import RedisBackend
from celery.states import FAILURE, REVOKED, SUCCESS
from redis.exceptions import RedisError

from scrape_do_celery.errors import NewerRecordError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.runs.stand_in_producers import has_reply_queues
from scrape_do_celery.store import CANCEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.store import RunRecord

log = get_logger(__name__)


def cancel_revoked_run(app_context: AppContext, run_id: str) -> None:
    """Cancel a run whose Celery id was revoked. Leave a run of a newer version to the workers of that version."""
    with suppress(NewerRecordError):
        app_context.request_stop(run_id, CANCEL)


def find_revoked(app_context: AppContext, task_ids: Sequence[str]) -> list[str]:
    """Return the ids that Celery has as revoked."""
    backend = app_context.app.backend
    if cannot_be_asked(app_context) or not task_ids:
        return []
    if isinstance(backend, RedisBackend):
        # Nearly all ids have no result yet, which one MGET shows for all of them.
        try:
            known = backend.mget([backend.get_key_for_task(task_id) for task_id in task_ids])
        except RedisError as error:
            log.warning(
                "could not ask the result backend for revoked runs: %s; a later poll asks again",
                type(error).__name__,
                extra=log_fields("revocations_not_read"),
            )
            return []
        task_ids = [task_id for task_id, meta in zip(task_ids, known, strict=True) if meta is not None]
    return [task_id for task_id in task_ids if read_state(app_context, task_id) == REVOKED]


def cannot_be_asked(app_context: AppContext) -> bool:
    """Return whether this process cannot read results: none are stored, or only their receiver can read them."""
    backend = app_context.app.backend
    return isinstance(backend, DisabledBackend) or has_reply_queues(app_context.app)


def read_delivered_state(app_context: AppContext, record: RunRecord, waiter: str) -> str | None:
    """Return the state that Celery has of this outcome under an id, or None.

    Not every ready state counts: if a callback could not be published, Celery overwrites a success with a failure.
    """
    state = read_state(app_context, waiter)
    return state if state in {REVOKED, expected_state(record)} else None


def expected_state(record: RunRecord) -> str:
    """Return the state that Celery must have of a run that has ended."""
    return str(SUCCESS if record.error is None else FAILURE)


def read_state(app_context: AppContext, waiter: str) -> str | None:
    """Return the state that Celery has of an id. Return None without a result backend, or without its answer."""
    if cannot_be_asked(app_context):
        # `rpc://` would take the results of this thread's own callers from their queue.
        return None
    try:
        state: str = app_context.app.backend.get_state(waiter)
    except Exception as error:  # noqa: BLE001 (each backend has errors of its own; publishing again is always safe)
        log.warning(
            "could not ask the result backend for the id %s: %s; the outcome may be published twice",
            waiter,
            type(error).__name__,
            extra=log_fields("result_not_read"),
        )
        return None
    return state
