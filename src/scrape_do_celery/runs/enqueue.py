"""Start runs: write their records, and publish their first step messages."""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Unpack

from scrape_do_celery.errors import RunNotFoundError
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.runs.canvas import callback_canvas
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.handle import RunHandle
from scrape_do_celery.runs.hooks import hooks
from scrape_do_celery.runs.idempotency import check_key, check_run_id, conflict_error, is_conflict
from scrape_do_celery.runs.many import one_for_each, read_specs
from scrape_do_celery.runs.new_runs import NewRun, create_runs
from scrape_do_celery.runs.stand_in_producers import MessageCapture
from scrape_do_celery.runs.store_guard import check_start
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.commands.creation import AcceptRun, CreateResult, ReserveKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from celery.canvas import Signature

    from scrape_do_celery.config import Settings
    from scrape_do_celery.models import JobCreationRequest
    from scrape_do_celery.models.targets import TargetInput
    from scrape_do_celery.store.commands.creation import Created
    from scrape_do_celery.store.options import EnqueueOptions

log = get_logger(__name__)


@without_locals
def enqueue(  # noqa: PLR0913 (one argument for each thing that a caller says)
    targets: Iterable[TargetInput] | JobCreationRequest | None = None,
    *,
    idempotency_key: str | None = None,
    run_id: str | None = None,
    on_success: Signature | None = None,
    on_failure: Signature | None = None,
    settings: Settings | None = None,
    **options: Unpack[EnqueueOptions],
) -> RunHandle:
    """Start a run, and return at once.

    The record is in the store when this function returns. The run continues even if this process or the broker dies.
    In a transaction of Django, the record is written at the commit, and not at all after a rollback.

    Args:
        targets: absolute http or https URLs, or a whole `JobCreationRequest`. None if `options` has a `plugin`. A
            `Target` has a URL and data of yours, which comes back as `meta` of the task and is never sent.
        idempotency_key: up to 1,000 characters, not blank. A second call with this key and an equal request returns the
            run of the first call, in any state. The callbacks of the first call stand.
        run_id: the `run_id` of a `StoreUnavailableError`, to repeat the call that raised it; or a new UUID. Repeat its
            `idempotency_key` too. If that call wrote its run, an equal request returns that run. None makes a new id.
        on_success: a Celery signature. Celery calls it with the small result of the run, at least once.
        on_failure: a Celery signature. Celery calls it as an errback, at least once.
        settings: settings of this call. None takes those of the framework or of the environment.
        **options: the options of the run (`RunOptions`), and the fields of `JobCreationRequest`, such as
            `geo_code="us"`. Times among these fields are in milliseconds.

    Returns:
        A handle of the run. `run_id` is also its Celery result id.

    Raises:
        ValueError: the request is wrong; the text names the fields. Nothing was written.
        IdempotencyConflictError: the key or `run_id` belongs to a run with another request. Nothing was written.
        RunNotFoundError: the run of `run_id` has ended and was forgotten. Nothing was written.
        ConfigurationError: the app has `task_always_eager`, or a test would buy. Nothing was written.
        StoreUnavailableError: Redis did not answer within `SCRAPE_DO_STORE_TIMEOUT`, or refused. To repeat the call
            without a second purchase, add the error's `run_id` to its arguments.
    """
    return start_run(
        RunSpec.from_arguments(targets, **options),
        idempotency_key=idempotency_key,
        run_id=run_id,
        on_success=on_success,
        on_failure=on_failure,
        settings=settings,
    )


@without_locals
def start_run(  # noqa: PLR0913 (the arguments of `enqueue`)
    spec: RunSpec,
    *,
    idempotency_key: str | None = None,
    run_id: str | None = None,
    on_success: Signature | None = None,
    on_failure: Signature | None = None,
    settings: Settings | None = None,
) -> RunHandle:
    """Start the run of a checked spec, as `enqueue` does."""
    key, canvas = check_key(idempotency_key), callback_canvas(on_success, on_failure)
    new_run = NewRun(spec, key, canvas, check_run_id(run_id))
    return _start_runs(AppContext.for_app(settings=settings), [new_run])[0]


@without_locals
def enqueue_many(  # noqa: PLR0913 (one argument for each thing that a caller says)
    requests: Iterable[Iterable[TargetInput] | JobCreationRequest],
    *,
    idempotency_keys: Iterable[str | None] | None = None,
    run_ids: Iterable[str | None] | None = None,
    on_success: Signature | None = None,
    on_failure: Signature | None = None,
    settings: Settings | None = None,
    **options: Unpack[EnqueueOptions],
) -> list[RunHandle]:
    """Start a run for each request, with one round trip to the store for every 200 runs.

    All requests are checked before the first run is written. The other arguments hold for each run, as in `enqueue`.

    Args:
        requests: for each run its URLs or `Target` objects, or a `JobCreationRequest`.
        idempotency_keys: a key or None for each request, in the same order. None for no keys at all.
        run_ids: the `run_ids` of a `StoreUnavailableError`, to repeat the call that raised it, with its keys. None
            makes new ids.
        on_success: as in `enqueue`.
        on_failure: as in `enqueue`.
        settings: as in `enqueue`.
        **options: the options of each run (`RunOptions`), and the fields of `JobCreationRequest` for all requests that
            are lists of URLs.

    Returns:
        The handles, in the order of the requests.

    Raises:
        ValueError: a request is wrong; the text names its index and the fields. Nothing was written.
        IdempotencyConflictError: a key or id belongs to a run with another request. The other runs go on.
        RunNotFoundError: the run of an id has ended and was forgotten. The other runs go on.
        ConfigurationError: the app has `task_always_eager`, or a test would buy. Nothing was written.
        StoreUnavailableError: some runs may be written, and go on. To repeat the call without a second purchase, add
            the error's `run_ids` to its arguments.
    """
    specs = read_specs(requests, options)
    keys = map(check_key, one_for_each(specs, idempotency_keys, "idempotency_keys", "keys"))
    ids = map(check_run_id, one_for_each(specs, run_ids, "run_ids", "ids"))
    canvas = callback_canvas(on_success, on_failure)
    new_runs = [NewRun(spec, key, canvas, run_id) for spec, key, run_id in zip(specs, keys, ids, strict=True)]
    return _start_runs(AppContext.for_app(settings=settings), new_runs)


def _start_runs(app_context: AppContext, new_runs: Sequence[NewRun]) -> list[RunHandle]:
    """Write the runs now, or at the commit of the transaction that this call is in. Return their handles.

    Raises:
        ValueError: the headers that the app adds to its messages are too long. Nothing was written.
        IdempotencyConflictError: a key belongs to a run with another request.
    """
    check_start(app_context)
    # Capture now: at the commit of a transaction, another tenant or request may be current.
    capture = MessageCapture(app_context)
    new_runs = [replace(new_run, message=capture.capture(new_run.run_id)) for new_run in new_runs]
    at_commit, own_ids = hooks().after_commit(), [new_run.run_id for new_run in new_runs]
    with app_context.limited_call(own_ids, by_progress=len(new_runs) > 1):
        if at_commit is None:
            created = create_runs(app_context, new_runs)
            run_ids = [_check_created(app_context, *pair) for pair in zip(created, new_runs, strict=True)]
        else:
            new_runs = [_reserve_run_id(app_context, new_run) for new_run in new_runs]
            run_ids = [new_run.run_id for new_run in new_runs]
            at_commit(partial(_create_committed_runs, app_context, new_runs))
    return [RunHandle(run_id, app_context=app_context) for run_id in run_ids]


def _check_created(app_context: AppContext, created: Created, new_run: NewRun) -> str:
    """Return the id of the run that has the request.

    Raises:
        IdempotencyConflictError: the key or id belongs to a run with another request.
        RunNotFoundError: the run of the id has ended and was forgotten.
    """
    if created.result == CreateResult.FORGOTTEN:
        raise RunNotFoundError(f"run {created.run_id} has ended and was forgotten", created.run_id)
    if is_conflict(created, new_run.spec):
        is_own_id = created.run_id == new_run.run_id
        raise conflict_error(app_context.store, created.run_id, new_run.spec, is_own_id=is_own_id)
    return created.run_id


def _reserve_run_id(app_context: AppContext, new_run: NewRun) -> NewRun:
    """Reserve the id that the key has for all transactions. Return the run to write at the commit, with that id.

    Raises:
        IdempotencyConflictError: the key belongs to a run with another request.
    """
    # Make the message now: a canvas that cannot be sent must fail this call, and not the commit.
    new_run.delivery_to(app_context, new_run.run_id)
    if new_run.key is None:
        return new_run
    store = app_context.store
    found = store.run(ReserveKey(new_run.key, new_run.run_id, new_run.spec.digest))
    if found.result == CreateResult.EXISTS and is_conflict(found, new_run.spec):
        raise conflict_error(store, found.run_id, new_run.spec)
    return replace(new_run, run_id=found.run_id, free=found.result == CreateResult.RESERVED)


@without_locals
def _create_committed_runs(app_context: AppContext, new_runs: Sequence[NewRun]) -> None:
    """Write the runs of a transaction. An exception would drop other actions that wait for the same commit."""
    store = app_context.store
    with app_context.limited_call([new_run.run_id for new_run in new_runs], by_progress=True):
        results = create_runs(app_context, new_runs)
    for created, new_run in zip(results, new_runs, strict=True):
        if is_conflict(created, new_run.spec):
            log.error(
                "a transaction was committed too late, and its run was not created: %s",
                conflict_error(store, created.run_id, new_run.spec, is_own_id=new_run.key is None),
                extra=log_fields("commit_conflict", run_id=new_run.run_id),
            )
        elif created.result == CreateResult.FORGOTTEN or created.run_id != new_run.run_id:
            log.error(
                "a transaction was committed too late: run %s of its key has ended and was forgotten; enqueue again",
                new_run.run_id,
                extra=log_fields("commit_too_late", run_id=new_run.run_id),
            )
        elif new_run.canvas and new_run.free and not created.new:
            # Another process has written the run meanwhile. The callbacks of this call need a waiter of their own.
            waiter = str(uuid.uuid4())
            delivery = new_run.delivery_to(app_context, waiter)
            store.run(AcceptRun(new_run.run_id, waiter, delivery))
