"""Start runs: write their records, and publish their first step messages."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from scrape_do_celery import routing, tracing
from scrape_do_celery.errors import EncryptionKeyError, IdempotencyConflictError, RunNotFoundError
from scrape_do_celery.models.sendable import as_list
from scrape_do_celery.runs.canvas import callbacks, delivery_signature
from scrape_do_celery.runs.checking import check_key, each_request, read_spec
from scrape_do_celery.runs.context import AppContext, StepMessage, refuse_eager
from scrape_do_celery.runs.handle import RunHandle
from scrape_do_celery.runs.hooks import hooks
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.signals import run_changed
from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands.creation import AcceptRun, CreateResult, CreateRun, ReserveKey
from scrape_do_celery.store.commands.runs import ReadRun, ReadSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from celery.canvas import Signature

    from scrape_do_celery.config import Settings
    from scrape_do_celery.models import JobCreationRequest
    from scrape_do_celery.store import RunSpec
    from scrape_do_celery.store.command import Command
    from scrape_do_celery.store.commands.creation import Created

log = logging.getLogger(__name__)

#: Runs per round trip to the store, at most.
_TOGETHER = 200


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A run to write. The id stands unless the idempotency key has a run already."""

    spec: RunSpec
    key: str | None
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    # The trace of the call: the run may be written later, at the commit of a transaction.
    trace: str = field(default_factory=tracing.current)
    #: whether the key had no run when a transaction reserved its id
    free: bool = False


def enqueue(  # noqa: PLR0913 (one argument for each option of a run)
    targets: Iterable[str] | JobCreationRequest | None = None,
    *,
    idempotency_key: str | None = None,
    raise_on_task_failure: bool = False,
    max_wait: float | None = None,
    early: bool | None = None,
    on_success: Signature | None = None,
    on_failure: Signature | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> RunHandle:
    """Start a run, and return at once.

    The record is in the store when this function returns. The run continues even if this process or the broker dies.
    In a transaction of Django, the record is written at the commit, and not at all after a rollback.

    Args:
        targets: absolute http or https URLs, or a whole `JobCreationRequest`. None if `options` has a `plugin`.
        idempotency_key: a text that is not blank. A second call with this key and an equal request returns the run of
            the first call, in any state. The callbacks of the first call stand.
        raise_on_task_failure: whether one failed task makes the run fail with `TaskFailedError`.
        max_wait: seconds from now, more than 0, after which the run ends with `RunTimeoutError` and its jobs are
            canceled. None sets no limit.
        early: whether pages are fetched while their job still runs, at the cost of one poll in each interval. None
            decides by the number of targets: from 50 on.
        on_success: a Celery signature. Celery calls it with the small result of the run, at least once.
        on_failure: a Celery signature. Celery calls it as an errback, at least once.
        settings: settings of this call. None takes those of the framework or of the environment.
        **options: the fields of `JobCreationRequest`, such as `geo_code="us"`. Times among them are in milliseconds.

    Returns:
        A handle of the run. `run_id` is also its Celery result id.

    Raises:
        ValueError: the request is wrong; the text names the fields. Nothing was written.
        IdempotencyConflictError: the key belongs to a run with another request. Nothing was written.
        ConfigurationError: the app has `task_always_eager`. Nothing was written.
        StoreUnavailableError: Redis did not answer. With an `idempotency_key`, the same call is safe to repeat.
    """
    spec = read_spec(targets, raise_on_task_failure=raise_on_task_failure, max_wait=max_wait, early=early, **options)
    wanted = [_Wanted(spec, check_key(idempotency_key))]
    return _start(AppContext.for_app(settings=settings), wanted, callbacks(on_success, on_failure))[0]


def enqueue_many(  # noqa: PLR0913 (as `enqueue`)
    requests: Iterable[Iterable[str] | JobCreationRequest],
    *,
    idempotency_keys: Iterable[str | None] | None = None,
    raise_on_task_failure: bool = False,
    max_wait: float | None = None,
    early: bool | None = None,
    on_success: Signature | None = None,
    on_failure: Signature | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> list[RunHandle]:
    """Start a run for each request, with one round trip to the store for every 200 runs.

    All requests are checked before the first run is written. The other arguments hold for each run, as in `enqueue`.

    Args:
        requests: for each run its URLs, or a `JobCreationRequest`.
        idempotency_keys: a key or None for each request, in the same order. None for no keys at all.
        raise_on_task_failure: as in `enqueue`.
        max_wait: seconds, as in `enqueue`.
        early: as in `enqueue`.
        on_success: as in `enqueue`.
        on_failure: as in `enqueue`.
        settings: as in `enqueue`.
        **options: fields of `JobCreationRequest` for all requests that are lists of URLs.

    Returns:
        The handles, in the order of the requests.

    Raises:
        ValueError: a request is wrong; the text names its index and the fields. Nothing was written.
        IdempotencyConflictError: a key belongs to a run with another request. The other runs are written and go on.
        ConfigurationError: the app has `task_always_eager`. Nothing was written.
        StoreUnavailableError: some runs may be written, and go on. With keys, the same call is safe to repeat.
    """
    kept = {"raise_on_task_failure": raise_on_task_failure, "max_wait": max_wait, "early": early}
    specs = [_numbered(index, request, kept | options) for index, request in enumerate(each_request(requests))]
    given = as_list(idempotency_keys, "idempotency_keys", "keys")
    keys = [None] * len(specs) if given is None else [check_key(key) for key in given]
    if len(keys) != len(specs):
        raise ValueError(f"idempotency_keys: {len(keys)} for {len(specs)} requests; give one for each, or None")
    wanted = [_Wanted(spec, key) for spec, key in zip(specs, keys, strict=True)]
    return _start(AppContext.for_app(settings=settings), wanted, callbacks(on_success, on_failure))


def _numbered(index: int, request: Iterable[str] | JobCreationRequest, options: dict[str, Any]) -> RunSpec:
    try:
        return read_spec(request, **options)
    except ValueError as error:
        raise ValueError(f"request {index}: {error}") from None


def _start(app_context: AppContext, wanted: Sequence[_Wanted], canvas: dict[str, Any]) -> list[RunHandle]:
    refuse_eager(app_context.app)
    later = hooks().after_commit()
    if later is None:
        run_ids = []
        for created, one in zip(_write_all(app_context, wanted, canvas), wanted, strict=True):
            if _is_other(created, one.spec):
                raise _conflict(app_context, created.run_id, one.spec)
            run_ids.append(created.run_id)
    else:
        if canvas:
            # Make the message now: a canvas that cannot be sent must fail this call, and not the commit.
            delivery_signature(app_context, "", "", canvas)
        wanted = [_reserve(app_context, one) for one in wanted]
        run_ids = [one.run_id for one in wanted]
        later(partial(_write_committed, app_context, wanted, canvas))
    return [RunHandle(run_id, app_context=app_context) for run_id in run_ids]


def _reserve(app_context: AppContext, one: _Wanted) -> _Wanted:
    """Reserve the id that the key has for all transactions. Return the run to write at the commit, with that id.

    Raises:
        IdempotencyConflictError: the key belongs to a run with another request.
    """
    if one.key is None:
        return one
    store = app_context.store
    found = store.run(ReserveKey(one.key, one.run_id, one.spec.digest))
    if found.result == CreateResult.EXISTS and _is_other(found, one.spec):
        raise _conflict(app_context, found.run_id, one.spec)
    return replace(one, run_id=found.run_id, free=found.result == CreateResult.RESERVED)


def _write_committed(app_context: AppContext, wanted: Sequence[_Wanted], canvas: dict[str, Any]) -> None:
    store = app_context.store
    for created, one in zip(_write_all(app_context, wanted, canvas), wanted, strict=True):
        # The caller has gone on, and an exception would drop other actions that wait for the same commit.
        if _is_other(created, one.spec):
            log.error("committed too late: %s", _conflict(app_context, created.run_id, one.spec))
        elif created.result == CreateResult.FORGOTTEN or created.run_id != one.run_id:
            log.error("committed too late: the run %s of this key has ended and was forgotten", one.run_id)
        elif canvas and one.free and not created.new:
            # Another process has written the run meanwhile. The callbacks of this call need a waiter of their own.
            waiter = str(uuid.uuid4())
            store.run(AcceptRun(one.run_id, waiter, delivery_signature(app_context, one.run_id, waiter, canvas)))


def _write_all(app_context: AppContext, wanted: Sequence[_Wanted], canvas: dict[str, Any]) -> list[Created]:
    """Write the runs and publish their submit steps. Return the results in input order.

    If the key or id of a run belongs to another request, nothing is published for the run.
    """
    found: list[Created] = []
    for start in range(0, len(wanted), _TOGETHER):
        found += _write_some(app_context, wanted[start : start + _TOGETHER], canvas)
    if run_changed.receivers:
        pairs = zip(found, wanted, strict=True)
        _send_created_signals(
            app_context, [created.run_id for created, one in pairs if not _is_other(created, one.spec)]
        )
    return found


def _send_created_signals(app_context: AppContext, run_ids: Sequence[str]) -> None:
    try:
        for record in app_context.store.run_all([ReadRun(run_id) for run_id in run_ids]):
            if record is not None and record.unreadable is None:
                run_changed.send(sender=app_context.app, status=RunStatus.from_record(record))
    except RedisError as error:
        # The runs are stored: a caller who sees an error would pay again. A worker announces the runs.
        log.warning("run_changed was not sent for new runs: %s", type(error).__name__)


def _write_some(app_context: AppContext, wanted: Sequence[_Wanted], canvas: dict[str, Any]) -> list[Created]:
    store = app_context.store
    found = _create_all(app_context, wanted, canvas)
    ours = [index for index, one in enumerate(wanted) if not _is_other(found[index], one.spec)]
    if old := [index for index in ours if not found[index].new]:
        alive = store.run_all([AcceptRun(found[index].run_id) for index in old])
        # A run that was forgotten between both commands has freed its key, so the run is created once more.
        freed = [index for index, parts in zip(old, alive, strict=True) if parts <= 0]
        for index, created in zip(freed, _create_all(app_context, [wanted[n] for n in freed], canvas), strict=True):
            found[index] = created
    messages = ((found[index].run_id, range(len(wanted[index].spec.parts()))) for index in ours)
    part_ids = tuple(str(PartId(run_id, part)) for run_id, parts in messages for part in parts)
    app_context.publish_all([StepMessage(routing.SUBMIT_JOBS, part_ids)])
    return found


def _create_all(app_context: AppContext, wanted: Sequence[_Wanted], canvas: dict[str, Any]) -> list[Created]:
    store = app_context.store
    found = store.run_all([_creation(app_context, one, canvas) for one in wanted])
    reserved = {index: created.run_id for index, created in enumerate(found) if created.result == CreateResult.RESERVED}
    # An open transaction has reserved these ids and given them to its caller.
    under = [replace(wanted[index], run_id=run_id) for index, run_id in reserved.items()]
    again = store.run_all([_creation(app_context, one, canvas) for one in under]) if under else []
    for index, created in zip(reserved, again, strict=True):
        found[index] = created
    return found


def _creation(app_context: AppContext, one: _Wanted, canvas: dict[str, Any]) -> Command[Created]:
    delivery = delivery_signature(app_context, one.run_id, one.run_id, canvas) if canvas else ""
    return CreateRun(one.run_id, one.spec, key=one.key, signature=delivery, trace=one.trace)


def _is_other(created: Created, spec: RunSpec) -> bool:
    """Return whether the run with this key or id has another request."""
    return not created.new and created.digest != spec.digest


def write(
    app_context: AppContext, spec: RunSpec, run_id: str, *, key: str | None = None, **options: Any
) -> tuple[str, bool]:
    """Write a run. Return the id of the run in the store, and whether this call wrote it.

    `options` are those of `CreateRun`.

    Raises:
        IdempotencyConflictError: the key or id belongs to a run with another request.
        RunNotFoundError: the run of this id has ended and was forgotten.
    """
    store = app_context.store
    created = store.run(CreateRun(run_id, spec, key=key, trace=tracing.current(), **options))
    if created.result == CreateResult.RESERVED:
        # As after `enqueue`, the run waits under its own id. The caller adds its own waiter later.
        options |= {"waiter": None, "signature": ""}
        command = CreateRun(created.run_id, spec, key=key, trace=tracing.current(), **options)
        created = replace(store.run(command), result=CreateResult.EXISTS)
    if created.result == CreateResult.FORGOTTEN:
        raise RunNotFoundError(f"run {run_id} has ended and was forgotten", run_id)
    if _is_other(created, spec):
        raise _conflict(app_context, created.run_id, spec)
    return created.run_id, created.new


def publish_submit(app_context: AppContext, run_id: str, parts: int) -> None:
    """Publish submit steps for all parts of a run that was just accepted."""
    app_context.publish(routing.SUBMIT_JOBS, [PartId(run_id, n) for n in range(parts)])


def _conflict(app_context: AppContext, run_id: str, spec: RunSpec) -> IdempotencyConflictError:
    store = app_context.store
    record = store.run(ReadRun(run_id))
    try:
        theirs = store.run(ReadSpec(run_id, len(record.parts))) if record else None
    except EncryptionKeyError as error:
        # The other request cannot be read here. Its digest still proves that the requests differ.
        return IdempotencyConflictError(f"the key belongs to run {run_id}, with another request: {error}", run_id)
    fields = spec.differing_fields(theirs) if theirs else ()
    what = f"it differs in {', '.join(fields)}" if fields else "its record is gone"
    return IdempotencyConflictError(f"the key belongs to run {run_id}, with another request: {what}", run_id, fields)
