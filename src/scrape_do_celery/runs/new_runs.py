"""Write the records of new runs, publish their first step messages, and announce the runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from scrape_do_celery import routing, tracing
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.errors.base import describe_error
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.runs.canvas import delivery_signature
from scrape_do_celery.runs.context import StepMessage
from scrape_do_celery.runs.idempotency import is_conflict
from scrape_do_celery.runs.plans import read_learned
from scrape_do_celery.runs.price_checks import PricedRun, find_refusals
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.signals import run_changed
from scrape_do_celery.store import PartId, RunRecord
from scrape_do_celery.store.commands.creation import (
    Accepted,
    AcceptResult,
    AcceptRun,
    BudgetQuestion,
    CreateResult,
    CreateRun,
)
from scrape_do_celery.store.commands.runs import ReadRun
from scrape_do_celery.store.versions import UnlessNewer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.store import RunSpec
    from scrape_do_celery.store.command import Command
    from scrape_do_celery.store.commands.creation import Created

log = get_logger(__name__)

#: Runs per round trip to the store, at most.
_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to write. The id stands unless the idempotency key has a run already."""

    spec: RunSpec
    key: str | None = field(repr=False)
    #: the canvas that calls the caller's own tasks; empty without such tasks
    canvas: dict[str, Any] = field(repr=False)
    run_id: str
    # The trace of the call: the run may be written later, at the commit of a transaction.
    trace: str = field(default_factory=tracing.current)
    #: headers that the app has added to the message of the call, and the queue of its results
    message: dict[str, Any] = field(default_factory=dict, repr=False)
    #: whether the key had no run when a transaction reserved its id
    free: bool = False
    #: whether the caller has named the id, as for a call that is repeated
    has_given_id: bool = False
    #: the run whose child this one is
    parent: str | None = None

    def delivery_to(self, app_context: AppContext, waiter: str) -> str:
        """Return the message that will deliver the outcome to a waiter; empty if a plain message delivers it."""
        canvas = self.canvas | self.message
        return delivery_signature(app_context, self.run_id, waiter, canvas) if canvas else ""

    def create_command(self, app_context: AppContext, asks_budget: BudgetQuestion) -> Command[Created]:
        """Return the command that creates the run."""
        delivery = self.delivery_to(app_context, self.run_id)
        return CreateRun(
            self.run_id,
            self.spec,
            key=self.key,
            signature=delivery,
            trace=self.trace,
            asks_budget=asks_budget,
            parent=self.parent,
        )

    @property
    def budget_question(self) -> BudgetQuestion:
        """Whether the price must be compared with budgets before the run is written."""
        return BudgetQuestion.IF_BUDGETS if self.spec.max_mc is None else BudgetQuestion.ALWAYS


class _UncheckedPriceError(Exception):
    """The prices of new runs must be compared with budgets first. Their runs were not written.

    The first argument is whether other runs of the same commands were written.
    """


def create_runs(
    app_context: AppContext, new_runs: Sequence[NewRun], *, asks_budget: bool = True
) -> tuple[list[Created], list[str]]:
    """Write the runs and publish their submit steps. Return the results in input order, and the ids of live runs.

    If the key or id of a run belongs to another request, or its parent is lost, nothing is published for the run.
    Unless `asks_budget`, the prices were compared with budgets before, or nobody would see an error. If a budget is set
    after some runs are written, the workers compare the others.

    Raises:
        BudgetExceededError: a run is larger than its `max_credits` or than a whole budget. Nothing was written.
    """
    try:
        return _create_batches(app_context, new_runs, asks_budget=asks_budget)
    except _UncheckedPriceError:
        check_new_prices(app_context, new_runs)
    return _create_batches(app_context, new_runs, asks_budget=False)


def check_new_prices(app_context: AppContext, new_runs: Sequence[NewRun]) -> None:
    """Compare the prices of runs that are not written yet with their `max_credits` and with all budgets.

    Raises:
        BudgetExceededError: a run is too large.
    """
    store = app_context.store
    found = store.run_all([new_run.create_command(app_context, BudgetQuestion.ALWAYS) for new_run in new_runs])
    is_new = {CreateResult.UNCHECKED, CreateResult.RESERVED}
    pairs = zip(new_runs, found, strict=True)
    runs = [PricedRun.of(store, one.run_id, one.spec) for one, created in pairs if created.result in is_new]
    account, learned = read_learned(app_context, runs)
    for refusal in find_refusals(store, account, learned, runs):
        if refusal is not None:
            raise refusal


def _create_batches(
    app_context: AppContext, new_runs: Sequence[NewRun], *, asks_budget: bool
) -> tuple[list[Created], list[str]]:
    results: list[Created] = []
    started: list[str] = []
    for start in range(0, len(new_runs), _BATCH_SIZE):
        batch = new_runs[start : start + _BATCH_SIZE]
        try:
            created_runs = _write_records(app_context, batch, asks_budget=asks_budget)
        except _UncheckedPriceError as error:
            # A refusal now would say that nothing was written, and a caller who repeats the call would pay again.
            if not (error.args[0] or _has_new(results)):
                raise
            asks_budget = False
            created_runs = _write_records(app_context, batch, asks_budget=False)
        parts = {
            created.run_id: len(new_run.spec.parts())
            for created, new_run in zip(created_runs, batch, strict=True)
            if not _is_refused(created, new_run)
        }
        app_context.publish_all([_submit_message(run_id, count) for run_id, count in parts.items()])
        results += created_runs
        started += parts
    return results, started


def _write_records(app_context: AppContext, batch: Sequence[NewRun], *, asks_budget: bool) -> list[Created]:
    """Write the records of a batch, or accept the runs that the keys have already."""
    store = app_context.store
    results = _create_records(app_context, batch, asks_budget=asks_budget)
    existing = [
        index
        for index, (created, new_run) in enumerate(zip(results, batch, strict=True))
        if not created.new and not _is_refused(created, new_run)
    ]
    if existing:
        try:
            replies = store.run_all([UnlessNewer(AcceptRun(results[index].run_id)) for index in existing])
        except StoreUnavailableError as error:
            error.was_sent = True  # the runs are in the store already
            # A caller who repeats the call with another id, and without the key, would pay again.
            error.found_ids = {batch[index].run_id: results[index].run_id for index in existing}
            raise
        # A run that was forgotten between both commands has freed its key, so the run is created once more. A run of a
        # newer version is there, and workers of that version accept it.
        freed = [
            index
            for index, accepted in zip(existing, replies, strict=True)
            if isinstance(accepted, Accepted) and accepted.result is not AcceptResult.ACCEPTED
        ]
        asks_budget = asks_budget and not _has_new(results)
        created_again = _create_records(app_context, [batch[index] for index in freed], asks_budget=asks_budget)
        for index, created in zip(freed, created_again, strict=True):
            results[index] = created
    return results


def _create_records(app_context: AppContext, batch: Sequence[NewRun], *, asks_budget: bool) -> list[Created]:
    """Send the create commands of a batch. If an open transaction has reserved an id for a key, create that run."""
    results = _send_commands(app_context, batch, asks_budget=asks_budget)
    reserved = {
        index: replace(batch[index], run_id=created.run_id)
        for index, created in enumerate(results)
        if created.result == CreateResult.RESERVED
    }
    if reserved:
        asks_budget = asks_budget and not _has_new(results)
        created_again = _send_commands(app_context, list(reserved.values()), asks_budget=asks_budget)
        for index, created in zip(reserved, created_again, strict=True):
            results[index] = created
    return results


def _send_commands(app_context: AppContext, batch: Sequence[NewRun], *, asks_budget: bool) -> list[Created]:
    results = app_context.store.run_all(
        [
            new_run.create_command(app_context, new_run.budget_question if asks_budget else BudgetQuestion.NEVER)
            for new_run in batch
        ]
    )
    if any(created.result is CreateResult.UNCHECKED for created in results):
        raise _UncheckedPriceError(_has_new(results))
    return results


def _is_refused(created: Created, new_run: NewRun) -> bool:
    return created.result is CreateResult.NO_PARENT or is_conflict(created, new_run.spec)


def _has_new(results: Sequence[Created]) -> bool:
    return any(created.new for created in results)


def read_statuses(app_context: AppContext, run_ids: Sequence[str]) -> list[RunStatus]:
    """Return the statuses of new runs for the receivers of `run_changed`; none without a receiver."""
    if not run_changed.receivers:
        return []
    try:
        records = app_context.store.run_all([UnlessNewer(ReadRun(run_id)) for run_id in run_ids])
    except RedisError as error:
        # The runs are stored: a caller who sees an error would pay again. A worker announces the runs.
        log.warning(
            "could not send run_changed for new runs: %s; a worker announces the runs",
            describe_error(error),
            extra=log_fields("runs_not_announced"),
        )
        return []
    known = [record for record in records if isinstance(record, RunRecord)]
    return [RunStatus.from_record(record) for record in known if not record.lacks_key]


def announce_runs(app_context: AppContext, statuses: Sequence[RunStatus]) -> None:
    """Send `run_changed` for new runs."""
    for status in statuses:
        run_changed.send(sender=app_context.app, status=status)


def publish_submit(app_context: AppContext, run_id: str, parts: int) -> None:
    """Publish submit steps for all parts of a run that was just accepted."""
    app_context.publish(routing.SUBMIT_JOBS, [PartId(run_id, part) for part in range(parts)])


def _submit_message(run_id: str, parts: int) -> StepMessage:
    return StepMessage(routing.SUBMIT_JOBS, tuple(str(PartId(run_id, part)) for part in range(parts)))
