"""Start runs from async code, without a wait of the event loop."""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.models.concerns import CallerLine, KnownLine
from scrape_do_celery.runs.celery_app import find_user_app, lent_app
from scrape_do_celery.runs.hooks import hooks
from scrape_do_celery.runs.plans import estimate
from scrape_do_celery.runs.start_calls import StartCall
from scrape_do_celery.runs.threads import call_in_thread
from scrape_do_celery.store.option_checks import check_flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from celery.canvas import Signature

    from scrape_do_celery.config import Settings
    from scrape_do_celery.models import ForeignModel, JobCreationRequest
    from scrape_do_celery.models.targets import TargetInput
    from scrape_do_celery.runs.handle import RunHandle
    from scrape_do_celery.runs.plans import Estimate, RunPlan
    from scrape_do_celery.store.options import EnqueueOptions

T = TypeVar("T")


@overload
async def aenqueue(
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
async def aenqueue(
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
async def aenqueue(  # noqa: PLR0913 (one argument for each thing that a caller says)
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
    """Start a run as `enqueue` does, in async code. The event loop is never blocked.

    In a transaction of Django around the coroutine, the record is written at the commit, and not at all after a
    rollback. If the caller's task is canceled during this call, the run may be written. Pass an `idempotency_key`, or
    a new UUID as `run_id`, so that the same call returns that run.

    Args:
        targets: as in `enqueue`.
        idempotency_key: as in `enqueue`.
        run_id: as in `enqueue`.
        on_success: as in `enqueue`.
        on_failure: as in `enqueue`.
        settings: as in `enqueue`.
        dry_run: as in `enqueue`.
        **options: as in `enqueue`.

    Returns:
        A handle of the run, as from `enqueue`.

    Raises:
        ValueError: as from `enqueue`.
        ScrapeDoError: the errors of `enqueue`.
    """
    ids, callbacks = (idempotency_key, run_id), (on_success, on_failure)
    make_call = partial(StartCall.for_one, targets, ids, callbacks, settings, options)
    return (await _plan(make_call))[0] if check_flag("dry_run", dry_run) else (await _carry_out(make_call))[0]


@overload
async def aenqueue_many(
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
async def aenqueue_many(
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
async def aenqueue_many(  # noqa: PLR0913 (one argument for each thing that a caller says)
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
    """Start a run for each request as `enqueue_many` does, in async code. The event loop is never blocked.

    Transactions and canceled tasks are as for `aenqueue`.

    Args:
        requests: as in `enqueue_many`.
        idempotency_keys: as in `enqueue_many`.
        run_ids: as in `enqueue_many`.
        on_success: as in `enqueue_many`.
        on_failure: as in `enqueue_many`.
        settings: as in `enqueue_many`.
        dry_run: as in `enqueue_many`.
        **options: as in `enqueue_many`.

    Returns:
        The handles, in the order of the requests.

    Raises:
        ValueError: as from `enqueue_many`.
        ScrapeDoError: the errors of `enqueue_many`.
    """
    ids, callbacks = (idempotency_keys, run_ids), (on_success, on_failure)
    make_call = partial(StartCall.for_many, requests, ids, callbacks, settings, options)
    return await _plan(make_call) if check_flag("dry_run", dry_run) else await _carry_out(make_call)


@without_locals
async def aestimate(
    targets: Iterable[TargetInput] | JobCreationRequest | None = None,
    *,
    settings: Settings | None = None,
    **options: Unpack[EnqueueOptions],
) -> Estimate:
    """Return what a run would cost, as `estimate` does, in async code. The event loop is never blocked.

    Args:
        targets: as in `estimate`.
        settings: as in `estimate`.
        **options: as in `estimate`.

    Returns:
        The expected, the least and the highest cost in credits.

    Raises:
        ValueError: as from `estimate`.
        StoreUnavailableError: as from `estimate`.
    """
    return await call_in_thread(lend_app(partial(estimate, targets, settings=settings, **options)))


async def _plan(make_call: Callable[[], StartCall]) -> list[RunPlan]:
    """Plan a call in a thread that sees the caller's Celery app."""
    return await call_in_thread(lend_app(lambda: make_call().plan()))


def lend_app(function: Callable[[], T]) -> Callable[[], T]:
    """Return a function that sees the Celery app of this thread, and whose warnings name the caller's line."""
    return partial(_call_with_app, find_user_app(), CallerLine.find(), function)


async def _carry_out(make_call: Callable[[], StartCall]) -> list[RunHandle]:
    """Make all steps of a call in threads that see the caller's Celery app. Return the handles.

    Warnings name the caller's line.
    """
    lend, call_as_caller = partial(_call_with_app, find_user_app(), CallerLine.find()), hooks().call_from_async
    if call_as_caller is None:
        handles: list[RunHandle] = await call_in_thread(partial(lend, lambda: make_call().carry_out()))
        return handles
    # Only the short steps belong on the caller's thread: with a silent store, each task would wait for all before it.
    context = copy_context()
    call: StartCall = await call_in_thread(partial(lend, make_call), context)
    await call_as_caller(partial(lend, call.prepare))
    try:
        await call_in_thread(partial(lend, partial(_write_apart, call)), context)
    finally:
        if call.has_news:
            await call_as_caller(partial(lend, call.announce))
    return call.handles


def _write_apart(call: StartCall) -> None:
    """Write the runs in a thread without requests. A receiver of Celery's signals may open connections in it."""
    hooks().close_connections()
    try:
        call.write()
    finally:
        hooks().close_connections()


def _call_with_app(app: Any, line: CallerLine, function: Callable[[], T]) -> T:
    with lent_app(app), KnownLine(line):
        return function()
