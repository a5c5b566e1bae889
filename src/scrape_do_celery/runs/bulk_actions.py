"""The actions of bulk calls on one run: cancel it, retry it, forget it. Each drafts first, and then carries out."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from scrape_do_celery.config.budget_limits import check_credits
from scrape_do_celery.errors import BudgetExceededError
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.rules.run_filters import LIVE
from scrape_do_celery.rules.skips import SkipReason, find_forget_skip, find_retry_skip
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.handle import RunHandle
from scrape_do_celery.runs.plans import Estimate, plan_runs
from scrape_do_celery.runs.results import read_record
from scrape_do_celery.runs.retry import draft_next, read_newest
from scrape_do_celery.store.commands.contents import CountContents

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings
    from scrape_do_celery.runs.retry import ChildDraft
    from scrape_do_celery.store import RunRecord, Store
    from scrape_do_celery.store.options import RunOptions

NO_COST: Final = Estimate(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class RunDraft(ABC):
    """What a bulk call will do to one run. Nothing is written yet."""

    run_id: str
    settings: Settings | None = field(repr=False)
    #: the tasks that are bought again
    tasks: int = 0
    #: the pages that are deleted
    pages: int = 0

    def estimate(self) -> Estimate:
        """Return what the tasks cost.

        Raises:
            BudgetExceededError: a limit or a budget refuses them.
        """
        return NO_COST

    @abstractmethod
    def carry_out(self) -> SkipReason | None:
        """Do it. Return why nothing was done, if another caller was first."""


class BulkAction(Protocol):
    """What a bulk call does to its runs."""

    #: the name of the call, for errors
    name: ClassVar[str]
    #: the settings of the call
    settings: Settings | None
    #: the state of the runs, if the caller names none; None for any
    default_state: ClassVar[str | None]

    def draft(self, run_id: str, until: float) -> RunDraft | SkipReason:
        """Return what to do to a run that was written before `until`, or why nothing. Nothing is written."""
        ...


class _Cancellation(RunDraft):
    def carry_out(self) -> SkipReason | None:
        return None if RunHandle(self.run_id, settings=self.settings).cancel() else SkipReason.ENDED


class _Deletion(RunDraft):
    def carry_out(self) -> SkipReason | None:
        RunHandle(self.run_id, settings=self.settings).forget()
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Retry(RunDraft):
    child: ChildDraft = field(repr=False)
    handled: set[str] = field(repr=False)

    @without_locals
    def estimate(self) -> Estimate:
        plan = plan_runs(AppContext.for_app(settings=self.settings), [self.child.spec])[0]
        if plan.refusal is not None:
            raise BudgetExceededError(plan.refusal, self.run_id)
        return plan.estimate

    @without_locals
    def carry_out(self) -> SkipReason | None:
        run_id = str(uuid.uuid4())
        child = self.child.start(run_id=run_id, settings=self.settings)
        self.handled.add(child.run_id)
        return None if child.run_id == run_id else SkipReason.RETRIED


class CancelAction:
    """Cancel runs that are live."""

    name: ClassVar[str] = "cancel_runs"
    default_state: ClassVar[str | None] = LIVE

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings

    def draft(self, run_id: str, until: float) -> RunDraft | SkipReason:  # noqa: ARG002 (as `BulkAction`)
        """Return the cancellation of a live run."""
        record = read_record(AppContext.for_app(settings=self.settings).store, run_id)
        return _Cancellation(run_id, self.settings) if record.outcome is None else SkipReason.ENDED


class ForgetAction:
    """Delete ended runs without a purchase in doubt, without an export under way, and without a live child."""

    name: ClassVar[str] = "forget_runs"
    default_state: ClassVar[str | None] = None

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings

    def draft(self, run_id: str, until: float) -> RunDraft | SkipReason:  # noqa: ARG002 (as `BulkAction`)
        """Return the deletion of an ended run, with the number of its pages."""
        store = AppContext.for_app(settings=self.settings).store
        record = read_record(store, run_id)
        skip = find_forget_skip(
            is_live=record.outcome is None,
            is_in_doubt=record.is_in_doubt,
            awaits_export=record.awaits_export,
            is_retried=record.child is not None and read_newest(store, run_id).outcome is None,
        )
        return skip or _Deletion(run_id, self.settings, pages=count_pages(store, record))


class RetryAction:
    """Start the next child of each lineage that lacks pages."""

    name: ClassVar[str] = "retry_runs"
    default_state: ClassVar[str | None] = None

    def __init__(
        self, settings: Settings | None = None, *, trust_order: bool = False, max_credits: float | None = None
    ) -> None:
        self.settings, self._trust_order = settings, trust_order
        self._options: RunOptions = {} if max_credits is None else {"max_credits": max_credits}
        # Refuse a wrong number before any run is read.
        check_credits("max_credits", max_credits)
        #: the runs after which a lineage is retried, and the children. In a transaction, no child is written yet; and a
        #: clock that steps back makes a child look older than the call
        self._handled: set[str] = set()

    @without_locals
    def draft(self, run_id: str, until: float) -> RunDraft | SkipReason:
        """Return the child of the newest run of the lineage."""
        store = AppContext.for_app(settings=self.settings).store
        newest = read_newest(store, run_id)
        skip = find_retry_skip(
            is_live=newest.outcome is None,
            is_child=newest.run_id != run_id,
            is_handled=newest.run_id in self._handled,
            created=newest.created,
            until=until,
        )
        if skip is not None:
            return skip
        child = draft_next(store, newest, trust_order=self._trust_order, **self._options)
        if isinstance(child, SkipReason):
            return child
        self._handled.add(newest.run_id)
        return _Retry(run_id, self.settings, child.spec.request.size, child=child, handled=self._handled)


def count_pages(store: Store, record: RunRecord) -> int:
    """Return the number of tasks of an ended run that succeeded, and that the store still has."""
    stored = store.run_all([CountContents(record.part_id(number)) for number in range(len(record.parts))])
    return sum(min(part.stored_ok, count) for part, count in zip(record.parts, stored, strict=True))
