"""Read, await and cancel a run by its id, from any process."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from celery.backends.base import DisabledBackend
from celery.result import AsyncResult

from scrape_do_celery.errors import ResultNotReadyError, RunError, RunNotFoundError
from scrape_do_celery.models import JobDetails, JobResult, TaskDetails
from scrape_do_celery.runs import results
from scrape_do_celery.runs.async_handle import AsyncRunMethods
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.store import CANCEL, RunRecord, RunState
from scrape_do_celery.store.commands.runs import ClaimOnce, ForgetResult, ForgetRun, ReadOutcome, ReadRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.config import Settings

#: Seconds between two checks of a waiting caller, first and longest.
_WAIT_MIN, _WAIT_MAX = 0.02, 0.2


class Progress(NamedTuple):
    """The progress of a run, in tasks."""

    #: tasks that succeeded
    done: int
    #: tasks that failed
    failed: int
    #: all tasks, one for each target
    total: int


class RunHandle(AsyncRunMethods):
    """A handle of a run, by the run's id. Any process may hold a handle.

    Args:
        run_id: the id that `enqueue` returned, which is also the Celery result id.
        settings: settings of this handle. None takes those of the framework or of the environment.
    """

    def __init__(self, run_id: str, *, settings: Settings | None = None, app_context: AppContext | None = None) -> None:
        if not isinstance(run_id, str) or not run_id:
            raise ValueError("run_id must be the id that enqueue returned, a str that is not empty")
        self.run_id = run_id
        self._app_context = app_context or AppContext.for_app(settings=settings)

    def __repr__(self) -> str:
        return f"RunHandle({self.run_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunHandle) and other.run_id == self.run_id

    def __hash__(self) -> int:
        return hash(self.run_id)

    @property
    def status(self) -> RunStatus:
        """The state, figures and times of the run, without pages."""
        return RunStatus.from_record(self._read_record())

    @property
    def state(self) -> RunState:
        """The state of the run. An ended run has its outcome here."""
        return self._read_record().state

    @property
    def progress(self) -> Progress:
        """The numbers of succeeded tasks, failed tasks and all tasks."""
        parts = self._read_record().parts
        return Progress(sum(p.done for p in parts), sum(p.failed for p in parts), sum(p.total for p in parts))

    @property
    def job(self) -> JobDetails | None:
        """The job that decided the run, as last polled. Before the outcome, the first job; None before a purchase."""
        record = self._read_record()
        return _deciding_job(record, results.jobs_by_part(self._app_context.store, record))

    @property
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
            The result, with tasks in the order of the targets.

        Raises:
            ResultNotReadyError: the run has not ended within `timeout`, and goes on.
            ScrapeDoError: the run failed, such as with `JobFailedError`. `iter_tasks` still yields the fetched pages.
            RunNotFoundError: the store has no such run (any more).
            ResultExpiredError: the pages have expired.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for wait in _wait_intervals(deadline):
            if self._has_ended():
                return self._read_result()
            time.sleep(wait)
        raise self._not_ready_error(timeout)

    async def aresult(self, timeout: float | None = None) -> JobResult:  # noqa: ASYNC109 (as `result`)
        """Wait as `result` does, in async code. The event loop is never blocked.

        Args:
            timeout: seconds to wait, as in `result`.

        Returns:
            The result, as from `result`.

        Raises:
            ScrapeDoError: the errors of `result`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for wait in _wait_intervals(deadline):
            if await asyncio.to_thread(self._has_ended):
                return await asyncio.to_thread(self._read_result)
            await asyncio.sleep(wait)
        raise await asyncio.to_thread(self._not_ready_error, timeout)

    def iter_tasks(self, *, partial: bool = False) -> Iterator[TaskDetails]:
        """Yield the fetched tasks in input order, with a few of them in memory at a time.

        A failed run has the pages that were fetched before its end.

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
        store = self._app_context.store
        for part in results.part_readers(store, record):
            yield from part.iter_tasks(store)

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

    def first_delivery(self, name: str) -> bool:
        """Return True for the first call with this name for the run, in any process.

        Celery calls callbacks at least once. Call this method before work that must not happen twice, such as a mail.
        If the process dies after the call, the work is not done.

        Args:
            name: the name of the work. The store keeps the name for `SCRAPE_DO_RECORD_TTL` seconds.

        Returns:
            True for the first call, False for each later one.
        """
        store = self._app_context.store
        return store.run(ClaimOnce(self.run_id, name, self._app_context.settings.record_ttl))

    def forget(self) -> None:
        """Delete all data of an ended run from the store and from Celery, once its outcome is delivered.

        The idempotency key of the run is free again. If the run is encrypted with a key that no worker has, it can be
        deleted `SCRAPE_DO_CANCEL_GRACE` seconds after `cancel`. Then its job is not stopped, and no outcome is
        delivered.

        Raises:
            RunError: the run has not ended.
        """
        store, grace = self._app_context.store, self._app_context.settings.cancel_grace
        if store.run(ForgetRun(self.run_id, grace)) is ForgetResult.LIVE:
            raise RunError(f"run {self.run_id} has not ended: cancel it first, and wait for its end", self.run_id)
        if not isinstance(self._app_context.app.backend, DisabledBackend):
            self.async_result.forget()

    def _read_record(self) -> RunRecord:
        store = self._app_context.store
        record = store.run(ReadRun(self.run_id))
        if record is None:
            raise self._not_found_error()
        return record

    def _has_ended(self) -> bool:
        store = self._app_context.store
        known, outcome = store.run(ReadOutcome(self.run_id))
        if not known:
            raise self._not_found_error()
        return outcome is not None

    def _read_result(self) -> JobResult:
        record = self._read_record()
        if record.error is not None:
            raise record.error
        store = self._app_context.store
        parts = list(results.part_readers(store, record))
        read = [part.read_tasks(store) for part in parts]
        return JobResult(
            job=_deciding_job(record, {part.part_id.part: part.job for part in parts}),
            jobs=[part.job for part in parts],
            tasks=[task for tasks, _ in read for task in tasks],
            order_verified=all(proven for _, proven in read),
            run_id=self.run_id,
        )

    def _not_found_error(self) -> RunNotFoundError:
        return RunNotFoundError(
            f"the store has no run {self.run_id}: the id is wrong, the run is not committed yet, or it has expired",
            self.run_id,
        )

    def _not_ready_error(self, timeout: float | None) -> ResultNotReadyError:
        waited = "" if timeout is None else f" after {timeout:g} s"
        return ResultNotReadyError(
            f"run {self.run_id} is still {self.state}{waited}; wait longer, or try again later", self.run_id
        )


def _deciding_job(record: RunRecord, jobs: dict[int, JobDetails]) -> JobDetails | None:
    return jobs.get(record.decided_by) or next(iter(jobs.values()), None)


def _wait_intervals(deadline: float | None) -> Iterator[float]:
    """Yield growing waits between two checks, in seconds. The last check is at the deadline."""
    wait: float = _WAIT_MIN
    while deadline is None or (left := deadline - time.monotonic()) > 0:
        yield wait if deadline is None else min(wait, left)
        wait = min(_WAIT_MAX, wait * 1.5)
    yield 0.0
