"""Deliver outcomes under the Celery ids that wait for them, start late drafts, and find revoked ids."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from celery import signature
from celery.backends.base import DisabledBackend
from celery.backends.redis import RedisBackend
from celery.states import FAILURE, REVOKED, SUCCESS
from kombu.utils.json import loads
from redis.exceptions import RedisError

from scrape_do_celery import routing, tracing
from scrape_do_celery.log_fields import log_fields
from scrape_do_celery.redaction import message_reprs
from scrape_do_celery.runs.canvas import is_followed
from scrape_do_celery.store import CANCEL
from scrape_do_celery.store.commands.creation import AcceptRun
from scrape_do_celery.store.commands.runs import (
    AcknowledgeDelivery,
    ClaimOnce,
    ReadOutcome,
    ReadRun,
    RequestStop,
    WasClaimed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.store import RunRecord

log = logging.getLogger(__name__)


def deliver(app_context: AppContext, run_id: str, *, redelivery: bool = False) -> None:
    """Publish `deliver_outcome` under each waiting id, with the canvas of its caller.

    Args:
        app_context: the context that publishes.
        run_id: the run. Nothing happens if it has not ended.
        redelivery: whether the outcome was published before. If Celery already has the result of an id, the delivery
            is acknowledged and not published again. If callbacks follow the result, it is published once more first.
    """
    record = app_context.store.run(ReadRun(run_id))
    if record is not None and record.outcome is not None:
        deliver_record(app_context, record, redelivery=redelivery)


def deliver_record(app_context: AppContext, record: RunRecord, *, redelivery: bool = False) -> None:
    """Deliver as `deliver` does, with the record of an ended run that was just read."""
    store, run_id = app_context.store, record.run_id
    if record.unreadable is not None:
        # The canvas cannot be read here. A worker with the key delivers the outcome.
        log.error(
            "run %s cannot be delivered here: %s",
            run_id,
            record.unreadable,
            extra=log_fields("delivery_needs_key", run_id=run_id),
        )
        return
    if not record.waiters:
        store.run(AcknowledgeDelivery(run_id, "", app_context.retention))
    for waiter, stored in record.waiters.items():
        delivered, mark = _delivered_state(app_context, record, waiter) if redelivery else None, f"delivered {waiter}"
        # Celery stores the result before it calls the callbacks. A worker may die between the two, so the outcome is
        # published a second time, once.
        if delivered and not (is_followed(stored, delivered) and not store.run(WasClaimed(run_id, mark))):
            store.run(AcknowledgeDelivery(run_id, waiter, app_context.retention))
            continue
        with tracing.inside(record.trace):
            is_published = _publish_outcome(app_context, record, waiter, stored)
        if delivered and is_published:
            store.run(ClaimOnce(run_id, mark, app_context.retention.record))


def start_draft(app_context: AppContext, run_id: str, now: float) -> None:
    """Start a draft whose message has not come. If the message was revoked or has expired meanwhile, cancel the run."""
    store = app_context.store
    record = store.run(ReadRun(run_id))
    if record is None or (
        record.after and record.stop_reason is None and store.run(ReadOutcome(record.after)) == (True, None)
    ):
        # The run does not exist, or the run that it waits for goes on.
        return
    expired = record.expires is not None and now > record.expires
    # Every waiter must be revoked: one revoked message must not cancel the run of the others.
    if expired or (record.waiters and all(_read_state(app_context, waiter) == REVOKED for waiter in record.waiters)):
        store.run(RequestStop(run_id, CANCEL))
    parts = store.run(AcceptRun(run_id))
    app_context.publish(routing.SUBMIT_JOBS, [record.part_id(number) for number in range(parts)])


def find_revoked(app_context: AppContext, task_ids: Sequence[str]) -> list[str]:
    """Return the ids that Celery has as revoked."""
    backend = app_context.app.backend
    if _cannot_be_asked(app_context) or not task_ids:
        return []
    if isinstance(backend, RedisBackend):
        # Nearly all ids have no result yet, which one MGET shows for all of them.
        try:
            known = backend.mget([backend.get_key_for_task(task_id) for task_id in task_ids])
        except RedisError as error:
            log.warning(
                "could not ask the result backend for revoked runs: %s",
                type(error).__name__,
                extra=log_fields("revocations_not_read"),
            )
            return []
        task_ids = [task_id for task_id, meta in zip(task_ids, known, strict=True) if meta is not None]
    return [task_id for task_id in task_ids if _read_state(app_context, task_id) == REVOKED]


def _publish_outcome(app_context: AppContext, record: RunRecord, waiter: str, stored: str) -> bool:
    """Publish the outcome to one waiter. Return whether the broker took the message."""
    run_id, shown = record.run_id, message_reprs(record.run_id, record.summary) | app_context.result_options
    try:
        if stored:
            signature(loads(stored), app=app_context.app).apply_async(**shown)  # type: ignore[no-untyped-call]
        else:
            options = {"queue": app_context.settings.queue, "task_id": waiter, "add_to_parent": False}
            app_context.app.send_task(routing.DELIVER_OUTCOME, args=[run_id], shadow=routing.SCRAPE, **options, **shown)
    except Exception as error:  # noqa: BLE001 (brokers and signatures fail in many ways; the dispatcher publishes again)
        log.warning(
            "could not publish the outcome of run %s: %s; the dispatcher publishes it again",
            run_id,
            type(error).__name__,
            extra=log_fields("outcome_not_published", run_id=run_id),
        )
        return False
    return True


def acknowledge(app_context: AppContext, run_id: str, waiter: str) -> None:
    """Record the delivery of an outcome, if Celery has the result or its results cannot be read here."""
    store = app_context.store
    record = store.run(ReadRun(run_id))
    if record is not None and (_cannot_be_asked(app_context) or _delivered_state(app_context, record, waiter)):
        store.run(AcknowledgeDelivery(run_id, waiter, app_context.retention))


def _cannot_be_asked(app_context: AppContext) -> bool:
    """Return whether this process cannot read results: none are stored, or only their receiver can read them."""
    backend = app_context.app.backend
    return isinstance(backend, DisabledBackend) or str(backend.as_uri()).startswith("rpc")


def _delivered_state(app_context: AppContext, record: RunRecord, waiter: str) -> str | None:
    """Return the state that Celery has of this outcome under an id, or None.

    Not every ready state counts: if a callback could not be published, Celery overwrites a success with a failure.
    """
    state = _read_state(app_context, waiter)
    return state if state in {REVOKED, SUCCESS if record.error is None else FAILURE} else None


def _read_state(app_context: AppContext, waiter: str) -> str | None:
    """Return the state that Celery has of an id. Return None without a result backend, or without its answer."""
    try:
        state: str = app_context.app.backend.get_state(waiter)
    except Exception as error:  # noqa: BLE001 (each backend has errors of its own; publishing again is always safe)
        log.warning(
            "could not ask the result backend for the id %s: %s",
            waiter,
            type(error).__name__,
            extra=log_fields("result_not_read"),
        )
        return None
    return state
