"""Deliver outcomes under the Celery ids that wait for them, until Celery has each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import signature
from celery.exceptions import Ignore
from celery.states import REVOKED
from kombu.utils.json import loads
from redis.exceptions import RedisError

from scrape_do_celery import routing, tracing
from scrape_do_celery.errors import NewerRecordError, RefusedValueError, RunNotFoundError
from scrape_do_celery.errors.base import describe_error
from scrape_do_celery.log_fields import about_run, get_logger, log_fields
from scrape_do_celery.redaction import message_reprs
from scrape_do_celery.runs.canvas import is_followed
from scrape_do_celery.runs.stand_in_producers import DeliveryProducer
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.steps.celery_results import cannot_be_asked, expected_state, read_delivered_state
from scrape_do_celery.steps.requeue import requeue_if_unserved, requeue_message
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ClaimOnce, IsRunForgotten, ReadRun, WasClaimed

if TYPE_CHECKING:
    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.store import RunRecord

log = get_logger(__name__)


def deliver_run(app_context: AppContext, run_id: str, *, redelivery: bool = False) -> None:
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
    """Deliver as `deliver_run` does, with the record of an ended run that was just read."""
    store, run_id = app_context.store, record.run_id
    if record.unreadable is not None:
        # The canvas cannot be read here. A worker with the key delivers the outcome.
        _log_unreadable(record)
        return
    if not record.waiters:
        store.run(AcknowledgeDelivery(run_id, "", app_context.retention))
    for waiter, stored in record.waiters.items():
        delivered, mark = (
            read_delivered_state(app_context, record, waiter) if redelivery else None,
            f"delivered {waiter}",
        )
        # Celery stores the result before it calls the callbacks. A worker may die between the two, so the outcome is
        # published a second time, once.
        if delivered and not (is_followed(stored, delivered) and not store.run(WasClaimed(run_id, mark))):
            store.run(AcknowledgeDelivery(run_id, waiter, app_context.retention))
            continue
        with about_run(record.names), tracing.inside(record.trace):
            is_published = _publish_outcome(app_context, record, waiter, stored)
        if delivered and is_published:
            store.run(ClaimOnce(run_id, mark, app_context.retention.record))


def _publish_outcome(app_context: AppContext, record: RunRecord, waiter: str, stored: str) -> bool:
    """Publish the outcome to one waiter. Return whether the broker took the message."""
    run_id, headers = record.run_id, {routing.OUTCOME_HEADER: _facts_for_monitors(record)}
    try:
        message = loads(stored) if stored else {"options": {}}  # type: ignore[no-untyped-call]
        shown: dict[str, Any] = {
            **message_reprs(run_id, record.summary),
            "producer": DeliveryProducer(app_context, message["options"]),
        }
        if stored:
            finish = signature(message, app=app_context.app)
            # The options of a call replace those of its signature, and the canvas has headers of its own.
            finish.apply_async(headers={**(finish.options.get("headers") or {}), **headers}, **shown)
        else:
            options = {"queue": app_context.settings.queue, "task_id": waiter, "add_to_parent": False}
            app_context.app.send_task(
                routing.DELIVER_OUTCOME, args=[run_id], shadow=routing.SCRAPE, headers=headers, **options, **shown
            )
    except Exception as error:  # noqa: BLE001 (brokers and signatures fail in many ways; the dispatcher publishes again)
        log.warning(
            "could not publish the outcome of run %s: %s; the dispatcher publishes it again",
            run_id,
            type(error).__name__,
            extra=log_fields("outcome_not_published", run_id=run_id),
        )
        return False
    return True


def _facts_for_monitors(record: RunRecord) -> dict[str, Any]:
    """Return the facts about a run that the events of its delivery show."""
    status = RunStatus.from_record(record)
    ended = record.created if record.ended is None else record.ended
    return {
        "outcome": status.state.value,
        "seconds": round(max(0.0, ended - (record.accepted or record.created)), 3),
        "progress": status.progress_text(),
    }


def return_outcome(app_context: AppContext, run_id: str, waiter: str) -> dict[str, Any] | None:
    """Return the small result of a run to the Celery task that runs under the id of a waiter.

    Raises:
        ScrapeDoError: the error of a run that did not succeed.
        RunNotFoundError: the store has no such run.
        Ignore: the id does not wait for an outcome, or the run was forgotten after its delivery, or a value of the run
            is refused.
        Reject: this worker cannot read the run, so the message is requeued.
    """
    record = _read_run(app_context, run_id)
    if record.unreadable is not None:
        # The message is requeued: another worker has the key, or will have it.
        _log_unreadable(record)
        if isinstance(record.unreadable, RefusedValueError):
            # No worker believes the value. The dispatcher publishes the outcome again, ever more rarely.
            raise Ignore
        requeue_message(record.unreadable)
    if record.outcome is None or waiter not in record.waiters:
        # The message came too early, or a second time. A delivered outcome must not reach the callbacks again.
        raise Ignore
    with tracing.work(record.trace, routing.Step.DELIVER.span, run_id=run_id, **record.names):
        if record.error is not None:
            raise record.error
        return record.result


def _log_unreadable(record: RunRecord) -> None:
    log.error(
        "run %s cannot be delivered here: %s",
        record.run_id,
        record.unreadable,
        extra=log_fields("delivery_needs_key", run_id=record.run_id),
    )


def _read_run(app_context: AppContext, run_id: str) -> RunRecord:
    store = app_context.store
    with requeue_if_unserved():
        record = store.run(ReadRun(run_id))
        if record is None and store.run(IsRunForgotten(run_id)):
            raise Ignore
    if record is None:
        raise RunNotFoundError(f"the store has no run {run_id}: the run was forgotten, or has expired", run_id)
    return record


def acknowledge_waiter(app_context: AppContext, run_id: str, waiter: str, taken: str | None) -> None:
    """Record the delivery of an outcome, if Celery has the result. Until then, the dispatcher publishes it again.

    Args:
        app_context: the context of this worker.
        run_id: the run.
        waiter: the Celery id that has waited.
        taken: the state that this worker has published for the id. If nobody but the receiver can read a result, the
            publisher confirms the delivery.
    """
    store = app_context.store
    try:
        record = store.run(ReadRun(run_id))
        if record is None:
            return
        is_published = cannot_be_asked(app_context) and taken in {REVOKED, expected_state(record)}
        if is_published or read_delivered_state(app_context, record, waiter):
            store.run(AcknowledgeDelivery(run_id, waiter, app_context.retention))
    except (NewerRecordError, RedisError) as error:
        log.warning(
            "could not acknowledge the delivery of run %s: %s; a dispatcher asks Celery for the result",
            run_id,
            describe_error(error),
            extra=log_fields("delivery_not_acknowledged", run_id=run_id),
        )
