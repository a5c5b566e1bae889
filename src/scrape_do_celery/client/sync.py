"""The blocking client: a thin shell around the rules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from tenacity import Retrying

from scrape_do_celery.client import endpoints
from scrape_do_celery.client._drivers import BlockingDriver
from scrape_do_celery.client.base import as_request
from scrape_do_celery.client.results import as_gone_or_error, build_result, final, task_retry_policy, with_task_ids
from scrape_do_celery.client.waiting import JobPages, JobWait
from scrape_do_celery.errors import ScrapeDoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scrape_do_celery.models import (
        JobCreationRequest,
        JobCreationResponse,
        JobDetails,
        JobResult,
        JobsListResponse,
        TaskDetails,
        UserInformation,
    )
    from scrape_do_celery.polling import Poller


class ScrapeDoAsyncAPIClient(BlockingDriver):
    """The Async API for threads; one client may serve many of them.

    Each method may be given its own `timeout`. Use the client in a `with` block, or close it.

    Args:
        api_key: the Scrape.do token. None takes `SCRAPE_DO_API_KEY`.
        base_url: the root of the Async API, or of a sandbox.
        timeout: deadline in seconds of one HTTP request, its last byte included.
        max_retries: how often a request is sent again after a failure. A purchase in doubt is never sent again.
        strategy: the time between two polls of a job, such as a `PollingStrategy`.
        concurrency: connections at the same time, at most 10.
        transport: a transport of httpx in place of the client's own.
        sleep: the function that waits, for tests.
        random: the source of jitter, for tests.
        clock: the clock that measures deadlines, for tests.
        on_response: called with status and headers of each answer. Its exceptions are logged.
        max_page_bytes: the largest answer, in bytes after decompression.
        on_default: called with model and field if a field of an answer cannot be read and takes its default.
    """

    def create_job(
        self,
        request: JobCreationRequest | None = None,
        *,
        before_send: Callable[[], None] | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> JobCreationResponse:
        """The ids of the job that was bought, from a request or its fields.

        `before_send` is the last act before the bytes leave, of each attempt; if it raises, nothing was sent.

        Raises:
            SubmitInDoubtError: the job may have been bought. Never sent again.
        """
        return self._send(endpoints.create_job(as_request(request, fields)), timeout, before_send)

    def get_job(self, job_id: str, *, timeout: float | None = None) -> JobDetails:
        """The job as it is now."""
        return self._send(endpoints.get_job(job_id), timeout)

    def get_task(self, job_id: str, task_id: str, *, timeout: float | None = None) -> TaskDetails:
        """The task with its content, as it is now."""
        return self._send(endpoints.get_task(job_id, task_id), timeout)

    def list_jobs(self, *, timeout: float | None = None, **filters: Unpack[endpoints.JobFilters]) -> JobsListResponse:
        """One page of the job list."""
        return self._send(endpoints.list_jobs(filters), timeout)

    def iter_jobs(
        self, *, timeout: float | None = None, **filters: Unpack[endpoints.JobFilters]
    ) -> Iterator[JobDetails]:
        """All jobs of the list from `page` on, each once, although pages shift while they are read."""
        pages = JobPages(filters)
        while pages.more:
            yield from pages.add(self.list_jobs(timeout=timeout, **pages.filters))

    def cancel_job(self, job_id: str, *, timeout: float | None = None) -> JobDetails:
        """The job, asked to stop; its status may not say so yet."""
        return self._send(endpoints.cancel_job(job_id), timeout)

    def get_user_info(self, *, timeout: float | None = None) -> UserInformation:
        """The account's concurrency and credits."""
        return self._send(endpoints.get_user_info(), timeout)

    def wait_for_job(self, job_id: str, strategy: Poller | None = None, timeout: float | None = None) -> JobDetails:
        """The job once it has ended, however it ended. The first look is immediate.

        Raises:
            JobTimeoutError: the strategy's budget ran out; the job goes on.
        """
        return self._poll_until_ended(job_id, JobWait(job_id, strategy or self._strategy), timeout)

    def submit_and_wait(
        self,
        request: JobCreationRequest | None = None,
        strategy: Poller | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> JobResult:
        """A new job's tasks with their contents, in the order of the input, when all is done.

        Raises:
            JobFailedError: its status is `error`; `result` of the exception holds what was fetched.
            JobCanceledError: it was canceled; as above.
        """
        request = as_request(request, fields)
        created = self.create_job(request, timeout=timeout)
        wait = JobWait(created.job_id, strategy or self._strategy, age=0.0)
        job = with_task_ids(self._poll_until_ended(created.job_id, wait, timeout), created)
        with ThreadPoolExecutor(self._concurrency) as pool:
            outcomes = list(pool.map(partial(self._fetch, job, timeout), job.task_ids))
        return build_result(request, job, outcomes)

    def _fetch(self, job: JobDetails, timeout: float | None, task_id: str) -> TaskDetails | ScrapeDoError:
        try:
            return final(
                Retrying(sleep=self._sleep, **task_retry_policy())(self.get_task, job.job_id, task_id, timeout=timeout)
            )
        except ScrapeDoError as error:
            return as_gone_or_error(job, task_id, error)

    def _poll_until_ended(self, job_id: str, wait: JobWait, timeout: float | None) -> JobDetails:
        began = self._clock()
        while True:
            try:
                job = self.get_job(job_id, timeout=timeout)
            except ScrapeDoError as error:
                pause: float | None = wait.on_error(error, self._clock() - began)
            else:
                pause = wait.on_job(job, self._clock() - began)
            if pause is None:
                return job
            self._sleep(pause)
