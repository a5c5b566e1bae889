"""Read, await and cancel a run by its id, from any process."""

from __future__ import annotations

import asyncio
import time
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, TypeVar

from celery.backends.base import DisabledBackend
from celery.result import AsyncResult

from scrape_do_celery.errors import ResultNotReadyError, RunError, StoreUnavailableError
from scrape_do_celery.models import JobDetails, JobResult, TaskDetails
from scrape_do_celery.models.sendable import LONGEST_ID, why_no_name
from scrape_do_celery.runs import results
from scrape_do_celery.runs.async_handle import AsyncRunMethods
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.entries import iter_entries, read_entries
from scrape_do_celery.runs.exports import ExportMethods
from scrape_do_celery.runs.lineage import LineageMethods
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.runs.waiting import WaitLimit
from scrape_do_celery.store import CANCEL, RunRecord, RunState
from scrape_do_celery.store.commands.runs import ClaimOnce, ForgetResult, ForgetRun, ReadOutcome
from scrape_do_celery.store.deadlines import call_in_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scrape_do_celery.config import Settings

P = ParamSpec("P")
T = TypeVar("T")


def _limited(method: Callable[Concatenate[RunHandle, P], T]) -> Callable[Concatenate[RunHandle, P], T]:
    """Limit the total time of a method that reads small values."""

    @wraps(method)
    def limited(self: RunHandle, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._app_context.limited_call():
            return method(self, *args, **kwargs)

    return limited


def _limited_write(method: Callable[Concatenate[RunHandle, P], T]) -> Callable[Concatenate[RunHandle, P], T]:
    """Limit the total time of a method that writes. The error of a store that is away names the run."""

    @wraps(method)
    def limited(self: RunHandle, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._app_context.limited_call([self.run_id]):
            return method(self, *args, **kwargs)

    return limited


class Progress(NamedTuple):
    """The progress of a run, in tasks. With `dedupe`, inputs with equal targets are one task."""

    #: tasks that succeeded
    done: int
    #: tasks that failed
    failed: int
    #: all tasks, one for each target that is bought
    total: int


class RunHandle(AsyncRunMethods, ExportMethods, LineageMethods):
    """A handle of a run, by the run's id. Any process may hold a handle.

    Args:
        run_id: the id that `enqueue` returned, which is also the Celery result id.
        settings: settings of this handle. None takes those of the framework or of the environment.
    """

    def __init__(self, run_id: str, *, settings: Settings | None = None, app_context: AppContext | None = None) -> None:
        if not isinstance(run_id, str) or not run_id:
            raise ValueError("run_id must be the id that enqueue returned, a str that is not empty")
        if fault := why_no_name(run_id, LONGEST_ID):
            raise ValueError(f"run_id {fault}")
        self.run_id = run_id
        self._app_context = app_context or AppContext.for_app(settings=settings)

    def __repr__(self) -> str:
        return f"RunHandle({self.run_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunHandle) and other.run_id == self.run_id

    def __hash__(self) -> int:
        return hash(self.run_id)

    @property
    @_limited
    def status(self) -> RunStatus:
        """The state, figures and times of the run, without pages."""
        store, settings = self._app_context.store, self._app_context.settings
        status = RunStatus.read(store, self.run_id, settings.account_id, settings.token_id)
        if status is None:
            raise results.run_not_found_error(store, self.run_id)
        return status

    @property
    @_limited
    def state(self) -> RunState:
        """The state of the run. An ended run has its outcome here."""
        return self._read_record().state

    @property
    @_limited
    def progress(self) -> Progress:
        """The numbers of succeeded tasks, failed tasks and all tasks."""
        parts = self._read_record().parts
        return Progress(sum(p.done for p in parts), sum(p.failed for p in parts), sum(p.total for p in parts))

    @property
    @_limited
    def job(self) -> JobDetails | None:
        """The job that decided the run, as last polled. Before the outcome, the first job; None before a purchase."""
        record = self._read_record()
        return _deciding_job(record, results.jobs_by_part(self._app_context.store, record))

    @property
    @_limited
    def jobs(self) -> list[JobDetails]:
        """All jobs that were bought for the run, as last polled."""
        return list(results.jobs_by_part(self._app_context.store, self._read_record()).values())

    @property
    def async_result(self) -> AsyncResult:
        """Celery's result of the run, through the app that this handle uses."""
        return AsyncResult(self.run_id, app=self._app_context.app)

    def result(self, timeout: float | None = None) -> JobResult:
        """Wait for the end of the run, and return all pages.

        Args:
            timeout: seconds to wait. None waits until the run ends; 0 does not wait.

        Returns:
            The result, with a task for each input, in input order, and with the `meta` of the input.

        Raises:
            ResultNotReadyError: the run has not ended within `timeout`, and goes on.
            ScrapeDoError: the run failed, such as with `JobFailedError`. `iter_tasks` still yields the fetched pages.
            RunNotFoundError: the store has no such run (any more).
            ResultExpiredError: the pages have expired.
            StoreUnavailableError: Redis did not answer. This error comes within a second after `timeout` too.
        """
        limit = WaitLimit(timeout, self._app_context.settings.store_timeout)
        for wait in limit.intervals():
            if limit.call(self._has_ended):
                return limit.call(self._read_result, by_progress=True)
            time.sleep(wait)
        raise limit.call(self._not_ready_error, timeout)

    async def aresult(self, timeout: float | None = None) -> JobResult:  # noqa: ASYNC109 (as `result`)
        """Wait as `result` does, in async code. The event loop is never blocked.

        Args:
            timeout: seconds to wait, as in `result`.

        Returns:
            The result, as from `result`.

        Raises:
            ScrapeDoError: the errors of `result`.
        """
        limit = WaitLimit(timeout, self._app_context.settings.store_timeout)
        for wait in limit.intervals():
            if await limit.acall(self._has_ended):
                return await limit.acall(self._read_result, by_progress=True)
            await asyncio.sleep(wait)
        raise await limit.acall(self._not_ready_error, timeout)

    def iter_tasks(self, *, partial: bool = False) -> Iterator[TaskDetails]:
        """Yield the fetched tasks in input order, with a few of them in memory at a time.

        A failed run has the pages that were fetched before its end. Each task has the `meta` of its input. With
        `dedupe`, the task of several inputs comes once for each of them.

        Args:
            partial: whether a live run yields the tasks that are fetched by now.

        Raises:
            ResultNotReadyError: the run has not ended, and `partial` is not set.
            RunNotFoundError: the store has no such run (any more).
            ResultExpiredError: the pages have expired.
        """
        record = self._read_record()
        if record.outcome is None and not partial:
            raise self._not_ready_error(None)
        yield from iter_entries(self._app_context.store, record)

    @_limited_write
    def cancel(self) -> bool:
        """Request the end of the run, at Scrape.do too.

        Pages that were paid for are still collected. If the job ends first, its own status decides.

        Returns:
            True if the run will be stopped, False if the run has ended already.

        Raises:
            RunNotFoundError: the store has no such run (any more).
        """
        if self._app_context.request_stop(self.run_id, CANCEL) is None:
            self._read_record()
            return False
        return True

    @_limited_write
    def first_delivery(self, name: str) -> bool:
        """Return True for the first call with this name for the run, in any process.

        Celery calls callbacks at least once. Call this method before work that must not happen twice, such as a mail.
        If the process dies after the call, or the store's answer is lost, the work is not done.

        Args:
            name: the name of the work. The store keeps the name for `SCRAPE_DO_RECORD_TTL` seconds.

        Returns:
            True for the first call, False for each later one.

        Raises:
            ValueError: the name is not a text, is blank, or has more than 1,000 characters.
            StoreUnavailableError: Redis did not answer. If `may_be_written` is True, this call may have been the first,
                and each later one returns False.
        """
        if fault := why_no_name(name):
            raise ValueError(f"name {fault}")
        store = self._app_context.store
        return store.run(ClaimOnce(self.run_id, name, self._app_context.settings.record_ttl))

    @_limited_write
    def forget(self) -> None:
        """Delete all data of an ended run from the store and from Celery, once its outcome is delivered.

        The idempotency key of the run is free again. If the run is encrypted with a key that no worker has, or a value
        of it is refused, it can be deleted `SCRAPE_DO_CANCEL_GRACE` seconds after `cancel`. Then its job is not
        stopped, and no outcome is delivered.

        Raises:
            RunError: the run has not ended.
        """
        store, grace = self._app_context.store, self._app_context.settings.cancel_grace
        answer = store.run(ForgetRun(self.run_id, grace))
        if answer is ForgetResult.LIVE and results.has_refused_values(store, self.run_id):
            answer = store.run(ForgetRun(self.run_id, grace, is_refused=True))
        if answer is ForgetResult.LIVE:
            raise RunError(
                f"run {self.run_id} has not ended: wait for its end, or cancel it if you do not need its pages",
                self.run_id,
            )
        if not isinstance(self._app_context.app.backend, DisabledBackend):
            self._forget_in_celery()

    def _forget_in_celery(self) -> None:
        try:
            call_in_time(self.async_result.forget, self._app_context.settings.store_timeout)
        except TimeoutError as error:
            message = "Celery's result backend did not answer in time; the store has deleted the run"
            raise StoreUnavailableError(message, "", [self.run_id], True) from error

    def _read_record(self) -> RunRecord:
        return results.read_record(self._app_context.store, self.run_id)

    def _has_ended(self) -> bool:
        store = self._app_context.store
        known, outcome = store.run(ReadOutcome(self.run_id))
        if not known:
            raise results.run_not_found_error(store, self.run_id)
        return outcome is not None

    def _read_result(self) -> JobResult:
        record = self._read_record()
        if record.error is not None:
            raise record.error
        entries = read_entries(self._app_context.store, record)
        return JobResult(
            job=_deciding_job(record, entries.jobs),
            jobs=list(entries.jobs.values()),
            tasks=entries.tasks,
            order_verified=entries.is_proven,
            run_id=self.run_id,
        )

    def _not_ready_error(self, timeout: float | None) -> ResultNotReadyError:
        waited, status = "" if timeout is None else f" after {timeout:g} s", self.status
        return status.not_ready_error(f"is still {status.state}{waited}")


def _deciding_job(record: RunRecord, jobs: dict[int, JobDetails]) -> JobDetails | None:
    return jobs.get(record.decided_by) or next(iter(jobs.values()), None)
