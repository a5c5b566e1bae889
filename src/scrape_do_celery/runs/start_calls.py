"""Carry out a call that starts runs, in steps that may be made by different threads."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from scrape_do_celery.errors import ResultExpiredError, RunNotFoundError, StoreUnavailableError
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.models.requests import ENQUEUE_ARGUMENTS
from scrape_do_celery.runs.canvas import callback_canvas
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.handle import RunHandle
from scrape_do_celery.runs.hooks import hooks
from scrape_do_celery.runs.idempotency import check_key, check_run_id, conflict_error, is_conflict
from scrape_do_celery.runs.many import one_for_each, read_specs
from scrape_do_celery.runs.new_runs import NewRun, announce_runs, check_new_prices, create_runs, read_statuses
from scrape_do_celery.runs.plans import plan_runs
from scrape_do_celery.runs.stand_in_producers import MessageCapture
from scrape_do_celery.runs.store_guard import check_start
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.commands.creation import AcceptRun, CreateResult, FindRun, ReserveKey
from scrape_do_celery.store.deadlines import shortened_time
from scrape_do_celery.store.run_settings import apply_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.canvas import Signature

    from scrape_do_celery.config import Settings
    from scrape_do_celery.runs.plans import RunPlan
    from scrape_do_celery.runs.status import RunStatus
    from scrape_do_celery.store.commands.creation import Created
    from scrape_do_celery.store.options import EnqueueOptions

log = get_logger(__name__)

#: The arguments of `enqueue_many` beside the options, which a wrong name may mean.
_KEYWORDS_OF_MANY: Final = ("idempotency_keys", "run_ids", *ENQUEUE_ARGUMENTS[2:])
#: Seconds for which a call in a transaction waits for a look at the store that it can go without.
_LOOK: Final = 1.0


class StartCall:
    """A call of `enqueue` or `enqueue_many`: its checked runs, and the steps that start them.

    `prepare` and `announce` are short, and belong on the thread of the caller: it has the transaction, the tenant and
    the database connections. `write` waits for the store, on any thread.
    """

    def __init__(self, app_context: AppContext, new_runs: Sequence[NewRun]) -> None:
        self._app_context = app_context
        settings = app_context.settings
        self._new_runs = [replace(new_run, spec=apply_settings(new_run.spec, settings)) for new_run in new_runs]
        self._own_ids = [new_run.run_id for new_run in new_runs]
        self._run_ids: list[str] = []
        self._statuses: list[RunStatus] = []
        #: The end of the caller's transaction; None outside a transaction.
        self._commit: AwaitedCommit | None = None

    @classmethod
    @without_locals
    def for_one(
        cls,
        targets: Any,
        ids: tuple[str | None, str | None],
        callbacks: tuple[Signature | None, Signature | None],
        settings: Settings | None,
        options: EnqueueOptions,
    ) -> Self:
        """Return the call for one run, with its checked arguments. `ids` are the idempotency key and the run id.

        Raises:
            ValueError: an argument is wrong.
        """
        spec = RunSpec.from_arguments(targets, ENQUEUE_ARGUMENTS, **options)
        key, canvas = check_key(ids[0]), callback_canvas(*callbacks)
        return cls(AppContext.for_app(settings=settings), [_make_run(spec, key, canvas, ids[1])])

    @classmethod
    @without_locals
    def for_many(
        cls,
        requests: Any,
        ids: tuple[Any, Any],
        callbacks: tuple[Signature | None, Signature | None],
        settings: Settings | None,
        options: EnqueueOptions,
    ) -> Self:
        """Return the call for many runs, as `for_one`. `ids` are the idempotency keys and the run ids.

        Raises:
            ValueError: an argument is wrong.
        """
        specs = read_specs(requests, _KEYWORDS_OF_MANY, options)
        keys = map(check_key, one_for_each(specs, ids[0], "idempotency_keys", "keys"))
        run_ids = one_for_each(specs, ids[1], "run_ids", "ids")
        canvas = callback_canvas(*callbacks)
        new_runs = [_make_run(spec, key, canvas, one) for spec, key, one in zip(specs, keys, run_ids, strict=True)]
        return cls(AppContext.for_app(settings=settings), new_runs)

    def carry_out(self) -> list[RunHandle]:
        """Make all steps on this thread. Return the handles.

        Raises:
            ValueError: the headers that the app adds to its messages are too long. Nothing was written.
            IdempotencyConflictError: a key or id belongs to a run with another request.
            RunNotFoundError: the run of an id has ended and was forgotten.
        """
        self.prepare()
        try:
            self.write()
        finally:
            self.announce()
        return self.handles

    def plan(self) -> list[RunPlan]:
        """Return what the call would buy. Nothing is bought, written or published, and no transaction is joined.

        Raises:
            StoreUnavailableError: the store did not answer in time.
        """
        return plan_runs(self._app_context, [new_run.spec for new_run in self._new_runs])

    def prepare(self) -> None:
        """Capture what belongs to the caller, and join the caller's transaction. Nothing waits for the store.

        Raises:
            ValueError: the headers that the app adds to its messages are too long. Nothing was written.
            ConfigurationError: the app has `task_always_eager`, or a test would buy.
        """
        check_start(self._app_context)
        # Capture now: at the commit of a transaction, another tenant or request may be current.
        capture = MessageCapture(self._app_context)
        self._new_runs = [replace(new_run, message=capture.capture(new_run.run_id)) for new_run in self._new_runs]
        after_commit = hooks().after_commit()
        if after_commit is not None:
            # Join now: later, the transaction may have ended, and its rollback would not be seen.
            self._commit = AwaitedCommit()
            after_commit(self._commit.note_commit)

    @without_locals
    def write(self) -> None:
        """Write the runs, or get them ready for the commit.

        Raises:
            IdempotencyConflictError: a key or id belongs to a run with another request.
            RunNotFoundError: the run of an id has ended and was forgotten.
        """
        app_context = self._app_context
        with app_context.limited_call(self._own_ids, by_progress=len(self._new_runs) > 1):
            if self._commit is None:
                created, started = create_runs(app_context, self._new_runs)
                self._statuses = read_statuses(app_context, started)
                self._run_ids = [_check_created(app_context, *one) for one in zip(created, self._new_runs, strict=True)]
            else:
                new_runs = [_reserve_run_id(app_context, new_run) for new_run in self._new_runs]
                _check_given_ids(app_context, new_runs)
                # At the commit, nobody would catch the error.
                if capped := [new_run for new_run in new_runs if new_run.spec.max_mc is not None]:
                    check_new_prices(app_context, capped)
                self._run_ids = [new_run.run_id for new_run in new_runs]
                self._commit.set_action(partial(_create_committed_runs, app_context, new_runs))

    @property
    def has_news(self) -> bool:
        """Whether `announce` has something to do."""
        return bool(self._statuses)

    def announce(self) -> None:
        """Send `run_changed` for the runs that were written, and not at a commit."""
        announce_runs(self._app_context, self._statuses)

    @property
    def handles(self) -> list[RunHandle]:
        """The handles of the runs, in the order of the requests."""
        return [RunHandle(run_id, app_context=self._app_context) for run_id in self._run_ids]


class AwaitedCommit:
    """The commit of a transaction that was joined before the action of the commit was known.

    A rollback drops it. Between both moments the caller's coroutine waits, so another task may end the transaction.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_committed = False
        self._action: Callable[[], object] | None = None

    def note_commit(self) -> None:
        """Take the action, or note that it may be taken. The framework calls this at the commit."""
        with self._lock:
            self._is_committed, action = True, self._action
        if action is not None:
            action()

    def set_action(self, action: Callable[[], object]) -> None:
        """Set the action. If the commit is over, take the action now."""
        with self._lock:
            self._action, is_committed = action, self._is_committed
        if is_committed:
            action()


@without_locals
def start_run(
    spec: RunSpec,
    *,
    idempotency_key: str | None = None,
    run_id: str | None = None,
    parent: str | None = None,
    settings: Settings | None = None,
) -> RunHandle:
    """Start the run of a checked spec, as `enqueue` does. `parent` is the run whose child it is."""
    new_run = replace(_make_run(spec, check_key(idempotency_key), {}, run_id), parent=parent)
    return StartCall(AppContext.for_app(settings=settings), [new_run]).carry_out()[0]


@without_locals
def start_runs(
    specs: Sequence[RunSpec],
    idempotency_keys: Sequence[str | None],
    run_ids: Sequence[str | None],
    *,
    settings: Settings | None = None,
) -> list[RunHandle]:
    """Start the runs of checked specs, as `enqueue_many` does, with a key or None and an id or None for each."""
    keys = map(check_key, idempotency_keys)
    new_runs = [_make_run(spec, key, {}, run_id) for spec, key, run_id in zip(specs, keys, run_ids, strict=True)]
    return StartCall(AppContext.for_app(settings=settings), new_runs).carry_out()


def _make_run(spec: RunSpec, key: str | None, canvas: dict[str, Any], run_id: str | None) -> NewRun:
    spec.check_export(is_scheduled=False)
    return NewRun(spec, key, canvas, check_run_id(run_id), has_given_id=run_id is not None)


def _check_created(app_context: AppContext, created: Created, new_run: NewRun) -> str:
    """Return the id of the run that has the request.

    Raises:
        IdempotencyConflictError: the key or id belongs to a run with another request.
        RunNotFoundError: the run of the id has ended and was forgotten.
    """
    if created.result == CreateResult.FORGOTTEN:
        raise RunNotFoundError(f"run {created.run_id} has ended and was forgotten", created.run_id)
    if created.result == CreateResult.NO_PARENT:
        raise _lost_parent_error(created.run_id)
    if is_conflict(created, new_run.spec):
        is_own_id = created.run_id == new_run.run_id
        raise conflict_error(app_context.store, created.run_id, new_run.spec, is_own_id=is_own_id)
    return created.run_id


def _lost_parent_error(run_id: str) -> ResultExpiredError:
    return ResultExpiredError(f"run {run_id} was forgotten, or its pages have expired: nothing was bought", run_id)


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


def _check_given_ids(app_context: AppContext, new_runs: Sequence[NewRun]) -> None:
    """Check that the ids that the caller has given belong to no other request. New ids are free.

    At the commit, nobody would catch the error. If the store does not answer soon, the commit decides all the same.

    Raises:
        IdempotencyConflictError: an id belongs to a run with another request.
        RunNotFoundError: the run of an id has ended and was forgotten.
    """
    given = [new_run for new_run in new_runs if new_run.has_given_id]
    if not given:
        return
    try:
        with shortened_time(_LOOK):
            found = app_context.store.run_all([FindRun(new_run.run_id, new_run.spec.digest) for new_run in given])
    except StoreUnavailableError:
        return
    for one, new_run in zip(found, given, strict=True):
        if one is not None:
            _check_created(app_context, one, new_run)


@without_locals
def _create_committed_runs(app_context: AppContext, new_runs: Sequence[NewRun]) -> None:
    """Write the runs of a transaction. An exception would drop other actions that wait for the same commit."""
    store = app_context.store
    with app_context.limited_call([new_run.run_id for new_run in new_runs], by_progress=True):
        results, started = create_runs(app_context, new_runs, asks_budget=False)
        statuses = read_statuses(app_context, started)
    announce_runs(app_context, statuses)
    for created, new_run in zip(results, new_runs, strict=True):
        if created.result == CreateResult.NO_PARENT:
            log.error(
                "a transaction was committed too late, and the child of a run was not created: %s",
                _lost_parent_error(created.run_id),
                extra=log_fields("commit_too_late", run_id=new_run.run_id),
            )
        elif is_conflict(created, new_run.spec):
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
