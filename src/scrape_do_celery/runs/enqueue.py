"""Start runs: write their records, and publish their first step messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack, overload

from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.runs.start_calls import StartCall
from scrape_do_celery.store.option_checks import check_flag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery.canvas import Signature

    from scrape_do_celery.config import Settings
    from scrape_do_celery.models import ForeignModel, JobCreationRequest
    from scrape_do_celery.models.targets import TargetInput
    from scrape_do_celery.runs.handle import RunHandle
    from scrape_do_celery.runs.plans import RunPlan
    from scrape_do_celery.store.options import EnqueueOptions


@overload
def enqueue(
    targets: Iterable[TargetInput] | JobCreationRequest | ForeignModel | None = ...,
    *,
    idempotency_key: str | None = ...,
    run_id: str | None = ...,
    on_success: Signature | None = ...,
    on_failure: Signature | None = ...,
    settings: Settings | None = ...,
    dry_run: Literal[False] = ...,
    **options: Unpack[EnqueueOptions],
) -> RunHandle: ...


@overload
def enqueue(
    targets: Iterable[TargetInput] | JobCreationRequest | ForeignModel | None = ...,
    *,
    idempotency_key: str | None = ...,
    run_id: str | None = ...,
    on_success: Signature | None = ...,
    on_failure: Signature | None = ...,
    settings: Settings | None = ...,
    dry_run: Literal[True],
    **options: Unpack[EnqueueOptions],
) -> RunPlan: ...


@without_locals
def enqueue(  # noqa: PLR0913 (one argument for each thing that a caller says)
    targets: Iterable[TargetInput] | JobCreationRequest | ForeignModel | None = None,
    *,
    idempotency_key: str | None = None,
    run_id: str | None = None,
    on_success: Signature | None = None,
    on_failure: Signature | None = None,
    settings: Settings | None = None,
    dry_run: bool = False,
    **options: Unpack[EnqueueOptions],
) -> RunHandle | RunPlan:
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
        dry_run: True returns a `RunPlan` in place of a handle: the jobs, the duplicates, the cost, the time, and why a
            budget would refuse the run. Nothing is bought, written or published. A run that `idempotency_key` has
            already is not looked up.
        **options: the options of the run (`RunOptions`), and the fields of `JobCreationRequest`, such as
            `geo_code="us"`. Times among these fields are in milliseconds.

    Returns:
        A handle of the run. `run_id` is also its Celery result id. With `dry_run`, the plan of the run.

    Raises:
        ValueError: the request is wrong; the text names the fields. Nothing was written.
        IdempotencyConflictError: the key or `run_id` belongs to a run with another request. Nothing was written.
        RunNotFoundError: the run of `run_id` has ended and was forgotten. Nothing was written.
        ConfigurationError: the app has `task_always_eager`, or a test would buy. Nothing was written.
        StoreUnavailableError: Redis did not answer within `SCRAPE_DO_STORE_TIMEOUT`, or refused. To repeat the call
            without a second purchase, add the error's `run_id` to its arguments.
    """
    ids, callbacks = (idempotency_key, run_id), (on_success, on_failure)
    call = StartCall.for_one(targets, ids, callbacks, settings, options)
    return call.plan()[0] if check_flag("dry_run", dry_run) else call.carry_out()[0]


@overload
def enqueue_many(
    requests: Iterable[Iterable[TargetInput] | JobCreationRequest | ForeignModel],
    *,
    idempotency_keys: Iterable[str | None] | None = ...,
    run_ids: Iterable[str | None] | None = ...,
    on_success: Signature | None = ...,
    on_failure: Signature | None = ...,
    settings: Settings | None = ...,
    dry_run: Literal[False] = ...,
    **options: Unpack[EnqueueOptions],
) -> list[RunHandle]: ...


@overload
def enqueue_many(
    requests: Iterable[Iterable[TargetInput] | JobCreationRequest | ForeignModel],
    *,
    idempotency_keys: Iterable[str | None] | None = ...,
    run_ids: Iterable[str | None] | None = ...,
    on_success: Signature | None = ...,
    on_failure: Signature | None = ...,
    settings: Settings | None = ...,
    dry_run: Literal[True],
    **options: Unpack[EnqueueOptions],
) -> list[RunPlan]: ...


@without_locals
def enqueue_many(  # noqa: PLR0913 (one argument for each thing that a caller says)
    requests: Iterable[Iterable[TargetInput] | JobCreationRequest | ForeignModel],
    *,
    idempotency_keys: Iterable[str | None] | None = None,
    run_ids: Iterable[str | None] | None = None,
    on_success: Signature | None = None,
    on_failure: Signature | None = None,
    settings: Settings | None = None,
    dry_run: bool = False,
    **options: Unpack[EnqueueOptions],
) -> list[RunHandle] | list[RunPlan]:
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
        dry_run: as in `enqueue`. The plans are returned in the order of the requests.
        **options: the options of each run (`RunOptions`), and the fields of `JobCreationRequest` for all requests that
            are lists of URLs.

    Returns:
        The handles, in the order of the requests. With `dry_run`, the plans.

    Raises:
        ValueError: a request is wrong; the text names its index and the fields. Nothing was written.
        IdempotencyConflictError: a key or id belongs to a run with another request. The other runs go on.
        RunNotFoundError: the run of an id has ended and was forgotten. The other runs go on.
        ConfigurationError: the app has `task_always_eager`, or a test would buy. Nothing was written.
        StoreUnavailableError: some runs may be written, and go on. To repeat the call without a second purchase, add
            the error's `run_ids` to its arguments.
    """
    ids, callbacks = (idempotency_keys, run_ids), (on_success, on_failure)
    call = StartCall.for_many(requests, ids, callbacks, settings, options)
    return call.plan() if check_flag("dry_run", dry_run) else call.carry_out()
