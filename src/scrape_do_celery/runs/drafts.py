"""Write drafts: runs whose record is written before the Celery message that starts them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from celery.utils.time import maybe_make_aware

from scrape_do_celery import tracing
from scrape_do_celery.config.secrets import with_credentials
from scrape_do_celery.errors import IdempotencyConflictError, RunNotFoundError
from scrape_do_celery.models.sendable import LONGEST_ID, why_no_name
from scrape_do_celery.runs.canvas import delivery_signature
from scrape_do_celery.runs.idempotency import check_key, conflict_error, is_conflict
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.commands.creation import AcceptResult, AcceptRun, CreateResult, CreateRun
from scrape_do_celery.store.run_settings import apply_settings

if TYPE_CHECKING:
    from celery import Celery

    from scrape_do_celery.runs.context import AppContext

#: The arguments of a scrape beside the options, which a wrong name may mean.
_KEYWORDS: Final = ("targets", "idempotency_key", "credentials")


def create_draft(
    app_context: AppContext, task_id: str, canvas: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """Write a draft from the arguments of a scrape and the canvas around it, and return its run id.

    If the idempotency key has a run already, return the id of that run.

    Raises:
        ValueError: the request is wrong.
        IdempotencyConflictError: the key belongs to a run with another request.
        RunNotFoundError: the run of this id has ended and was forgotten.
    """
    options = dict(kwargs)
    if fault := why_no_name(task_id, LONGEST_ID):
        raise ValueError(f"task_id {fault}")
    if len(args) > 1 or (args and "targets" in options):
        raise ValueError("pass targets once, as the only positional argument; pass all other arguments by name")
    key = check_key(options.pop("idempotency_key", None))
    options = with_credentials(app_context.settings.credentials, options.pop("credentials", None), options)
    spec = RunSpec.from_arguments(args[0] if args else None, _KEYWORDS, **options)
    spec.check_export(is_scheduled=False)
    start_delay, expires = seconds_until_due(app_context.app, canvas), seconds_until_expiry(app_context.app, canvas)
    delivery = delivery_signature(app_context, task_id, task_id, canvas)
    store, options = app_context.store, {"start_delay": start_delay, "expires": expires}
    for _ in range(2):
        try:
            run_id, new = write_run(app_context, spec, task_id, key=key, waiter=task_id, signature=delivery, **options)
        except IdempotencyConflictError as error:
            if error.run_id != task_id:
                raise
            # The message was redelivered, and the preceding task of its chain has returned other targets.
            # The first targets stand.
            run_id, new = task_id, False
        if new:
            break
        theirs = delivery_signature(app_context, run_id, task_id, canvas)
        accepted = store.run(AcceptRun(run_id, task_id, theirs, keep_draft=start_delay > 0))
        if accepted.result is AcceptResult.ACCEPTED:
            break
        # The run that had the key was forgotten a moment ago, so the key is free.
    return run_id


def write_run(
    app_context: AppContext, spec: RunSpec, run_id: str, *, key: str | None = None, **options: Any
) -> tuple[str, bool]:
    """Write a run. Return the id of the run in the store, and whether this call wrote it.

    `options` are those of `CreateRun`.

    Raises:
        IdempotencyConflictError: the key or id belongs to a run with another request.
        RunNotFoundError: the run of this id has ended and was forgotten.
    """
    store, spec = app_context.store, apply_settings(spec, app_context.settings)
    created = store.run(CreateRun(run_id, spec, key=key, trace=tracing.current(), **options))
    if created.result == CreateResult.RESERVED:
        # As after `enqueue`, the run waits under its own id. The caller adds its own waiter later.
        options |= {"waiter": None, "signature": ""}
        command = CreateRun(created.run_id, spec, key=key, trace=tracing.current(), **options)
        created = replace(store.run(command), result=CreateResult.EXISTS)
    if created.result == CreateResult.FORGOTTEN:
        raise RunNotFoundError(f"run {run_id} has ended and was forgotten", run_id)
    if is_conflict(created, spec):
        raise conflict_error(store, created.run_id, spec)
    return created.run_id, created.new


def seconds_until_due(app: Celery, options: dict[str, Any]) -> float:
    """Return the seconds that a message with these options waits. As in Celery, a naive `eta` is in the app's zone."""
    if options.get("countdown") is not None:
        return max(0.0, float(options["countdown"]))
    return _seconds_until(app, options.get("eta")) or 0.0


def seconds_until_expiry(app: Celery, options: dict[str, Any]) -> float | None:
    """Return the seconds that a message with these options may wait at most. None means for ever."""
    expires = options.get("expires")
    if isinstance(expires, int | float):
        return max(0.0, float(expires))
    return _seconds_until(app, expires)


def _seconds_until(app: Celery, moment: datetime | str | None) -> float | None:
    if moment is None:
        return None
    aware = maybe_make_aware(datetime.fromisoformat(moment) if isinstance(moment, str) else moment, app.timezone)
    return max(0.0, float((aware - app.now()).total_seconds()))
