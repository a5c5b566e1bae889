"""Start the runs of calls of the public step, and drafts whose message does not come."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from celery.exceptions import Ignore
from celery.states import REVOKED

from scrape_do_celery import routing
from scrape_do_celery.errors import InvalidRequestError, RunNotFoundError, ScrapeDoError
from scrape_do_celery.models.sendable import LONGEST_ID, why_no_name
from scrape_do_celery.redaction import call_summary
from scrape_do_celery.runs.canvas import delivery_signature
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.drafts import create_draft
from scrape_do_celery.runs.new_runs import publish_submit
from scrape_do_celery.runs.stand_in_producers import CAPTURED, message_options
from scrape_do_celery.steps.celery_results import read_state
from scrape_do_celery.steps.requeue import requeue_if_unserved
from scrape_do_celery.store import CANCEL
from scrape_do_celery.store.commands.creation import AcceptResult, AcceptRun
from scrape_do_celery.store.commands.runs import ReadOutcome, ReadRun, RequestStop

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Task

    from scrape_do_celery.store.commands.creation import Accepted

#: Seconds between two looks for a record, at first and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
#: Seconds of a wait after another wait found no record, and seconds for which waits are that short.
_SHORT_WAIT, _SHORT_FOR = 0.5, 60.0


def start_called_run(task: Task, run_id: str | None, args: tuple[Any, ...], request: dict[str, Any]) -> NoReturn:
    """Start the run of a call, and leave the Celery id of the call to the run.

    Args:
        task: the public step, while it runs.
        run_id: the run, if the caller has written its draft. A producer without this package has written none.
        args: the positional arguments of the call.
        request: the other arguments of the call.

    Raises:
        Ignore: the run goes on, so that Celery stores no result yet.
        InvalidRequestError: the request is wrong.
        RunNotFoundError: the store has no such run.
        Reject: the store does not answer, so the message is requeued, and nothing has happened.
    """
    app_context, task_id = AppContext.for_app(task.app), task.request.id
    if run_id is not None and request.get(CAPTURED):
        raise Ignore
    canvas = task.request.as_execution_options() | {"headers": None}
    try:
        canvas |= message_options(task.app, vars(task.request), task.request.reply_to)
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None
    # With `result_extended`, Celery stores these arguments beside the result, so they must be a summary.
    shown = call_summary(args, {**request, "run_id": run_id}, hosts=app_context.store.encryptor is None)
    task.request.update(args=(), kwargs=shown)
    with requeue_if_unserved():
        run_id = run_id or _write_draft(app_context, task_id, canvas, args, request)
        _park_caller(app_context, run_id, task_id, canvas)
    raise Ignore


def _park_caller(app_context: AppContext, run_id: str, task_id: str, canvas: dict[str, Any]) -> None:
    """Leave the caller's Celery id to the run. The canvas waits in the record, so that no message or worker waits."""
    store = app_context.store
    for field, value in {"run_id": run_id, "task_id": task_id}.items():
        if fault := why_no_name(value, LONGEST_ID):
            raise InvalidRequestError(f"{field} {fault}")
    command = AcceptRun(run_id, task_id, delivery_signature(app_context, run_id, task_id, canvas))
    accepted = _late_records.wait_for(partial(store.run, command), app_context.settings.store_timeout)
    if accepted.result is AcceptResult.GONE:
        raise RunNotFoundError(f"the store has no run {run_id}", run_id)
    if accepted.result is AcceptResult.ACCEPTED:
        publish_submit(app_context, run_id, accepted.parts)


class _LateRecords:
    """The wait for records that are written after their messages, by an app that publishes in its own way.

    If a wait found no record, the waits of the next minute are short. After a flush of the store, each message names a
    run that will never exist, and a pool must not spend hours on such messages.
    """

    def __init__(self) -> None:
        self._short_until = 0.0

    def wait_for(self, accept: Callable[[], Accepted], patience: float) -> Accepted:
        """Repeat `accept` until the record is there, for as long as its writer may take. Return the last result."""
        now = time.monotonic()
        until = now + (_SHORT_WAIT if now < self._short_until else patience)
        pause = _FIRST_PAUSE
        while (accepted := accept()).result is AcceptResult.GONE:
            if (left := until - time.monotonic()) <= 0:
                self._short_until = time.monotonic() + _SHORT_FOR
                break
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
        return accepted


_late_records = _LateRecords()


def _write_draft(
    app_context: AppContext, task_id: str, canvas: dict[str, Any], args: tuple[Any, ...], request: dict[str, Any]
) -> str:
    try:
        return create_draft(app_context, task_id, {**canvas, "eta": None}, args, request)
    except RunNotFoundError:
        # The message was redelivered after its run had ended and was forgotten.
        raise Ignore from None
    except ScrapeDoError:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(str(error)) from None


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
    if expired or (record.waiters and all(read_state(app_context, waiter) == REVOKED for waiter in record.waiters)):
        store.run(RequestStop(run_id, CANCEL))
    accepted = store.run(AcceptRun(run_id))
    app_context.publish(routing.SUBMIT_JOBS, [record.part_id(number) for number in range(accepted.parts)])
