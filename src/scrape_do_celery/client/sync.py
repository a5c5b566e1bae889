"""The blocking client, a thin shell around the rules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Unpack

from tenacity import Retrying

from scrape_do_celery.client import endpoints
from scrape_do_celery.client.base import as_request
from scrape_do_celery.client.drivers import BlockingDriver
from scrape_do_celery.client.results import (
    as_final_task,
    as_gone_or_error,
    build_result,
    task_retry_policy,
    with_task_ids,
)
from scrape_do_celery.client.waiting import JobPages, JobWait
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.local_variables import without_locals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scrape_do_celery.client.job_filters import JobFilters
    from scrape_do_celery.models import (
        ForeignModel,
        JobCreationRequest,
        JobCreationResponse,
        JobDetails,
        JobFields,
        JobResult,
        JobsListResponse,
        TaskDetails,
        UserInformation,
    )
    from scrape_do_celery.rules.polling import Poller


class ScrapeDoAsyncAPIClient(BlockingDriver):
    """A client of the Async API for threads. Many threads may share one client.

    Each method may be given its own `timeout`. Use the client in a `with` block, or close it.

    Args:
        api_key: the Scrape.do token. None takes `SCRAPE_DO_API_KEY`.
        base_url: the root of the Async API, or of a sandbox. None takes `SCRAPE_DO_API_URL`, else that of Scrape.do.
        timeout: deadline of one HTTP request up to its last byte, in seconds, above 0 and up to 3,600.
        max_retries: resends of a failed request, from 0 to 100. A purchase in doubt is never sent again.
        strategy: the time between two polls of a job, such as a `PollingStrategy`.
        concurrency: connections at the same time, from 1 to 10.
        transport: an httpx transport instead of the client's own.
        sleep: the function that waits, for tests.
        random: the source of jitter, for tests.
        clock: the clock that measures deadlines, for tests.
        on_response: called with status and headers of each answer. Exceptions of the callback are logged.
        max_page_bytes: the largest answer in bytes, before and after decompression; at least 1.
        on_default: called with model and field if a field of an answer is unreadable and takes its default.
        proxy: the HTTP proxy of all requests, such as `http://user:password@proxy:3128`. None takes `SCRAPE_DO_PROXY`,
            and an empty text is no proxy. `HTTPS_PROXY` is not read.
        ca_file: a PEM file of authorities that are trusted besides the public ones. None takes `SCRAPE_DO_CA_FILE`.
    """

    @without_locals
    def create_job(
        self,
        request: JobCreationRequest | ForeignModel | None = None,
        *,
        before_send: Callable[[], None] | None = None,
        timeout: float | None = None,
        **fields: Unpack[JobFields],
    ) -> JobCreationResponse:
        """Buy a job.

        Args:
            request: the request of the job. Give either this or `fields`.
            before_send: called in each attempt, right before the first byte leaves. If it raises, nothing was sent.
            timeout: deadline of each HTTP request in seconds, above 0 and up to 3,600. None takes the client's.
            **fields: the fields of a `JobCreationRequest` beside `timeout`.

        Returns:
            The id of the job and the ids of its tasks.

        Raises:
            TypeError: `request` and fields were both given, or neither.
            SubmitInDoubtError: the job may have been bought. The request is never sent again.
        """
        return self._call_endpoint(endpoints.create_job(as_request(request, fields)), timeout, before_send)

    def get_job(self, job_id: str, *, timeout: float | None = None) -> JobDetails:
        """Poll a job once.

        Args:
            job_id: the id of the job.
            timeout: deadline of the HTTP request in seconds, above 0 and up to 3,600. None takes the client's.

        Returns:
            The current state of the job.
        """
        return self._call_endpoint(endpoints.get_job(job_id), timeout)

    def get_task(self, job_id: str, task_id: str, *, timeout: float | None = None) -> TaskDetails:
        """Fetch a task once.

        Args:
            job_id: the id of the task's job.
            task_id: the id of the task.
            timeout: deadline of the HTTP request in seconds, above 0 and up to 3,600. None takes the client's.

        Returns:
            The current state of the task, with its content.
        """
        return self._call_endpoint(endpoints.get_task(job_id, task_id), timeout)

    def list_jobs(self, *, timeout: float | None = None, **filters: Unpack[JobFilters]) -> JobsListResponse:
        """Fetch a page of the job list.

        Args:
            timeout: deadline of the HTTP request in seconds, above 0 and up to 3,600. None takes the client's.
            **filters: `page` from 1, `page_size` from 1 to 100, `status`, `start_from`, `start_to` and `sort`. Times
                are datetimes or ISO 8601 texts, and UTC unless they name a zone.

        Returns:
            The jobs of the page, and the totals of the list.

        Raises:
            ValueError: a filter has a value that the API does not know.
            TypeError: the API has no such filter.
        """
        return self._call_endpoint(endpoints.list_jobs(filters), timeout)

    def iter_jobs(self, *, timeout: float | None = None, **filters: Unpack[JobFilters]) -> Iterator[JobDetails]:
        """Walk through the job list from `page` on.

        Args:
            timeout: deadline of each HTTP request in seconds, above 0 and up to 3,600. None takes the client's.
            **filters: the filters of `list_jobs`. `page_size` is 100 unless it is given.

        Yields:
            Each job once, although pages shift while they are read.
        """
        pages = JobPages(filters)
        while pages.more:
            yield from pages.add(self.list_jobs(timeout=timeout, **pages.filters))

    def cancel_job(self, job_id: str, *, timeout: float | None = None) -> JobDetails:
        """Cancel a job at Scrape.do.

        Args:
            job_id: the id of the job.
            timeout: deadline of the HTTP request in seconds, above 0 and up to 3,600. None takes the client's.

        Returns:
            The job. Its status may not be `canceled` yet.
        """
        return self._call_endpoint(endpoints.cancel_job(job_id), timeout)

    def get_user_info(self, *, timeout: float | None = None) -> UserInformation:
        """Fetch the account's concurrency and credits.

        Args:
            timeout: deadline of the HTTP request in seconds, above 0 and up to 3,600. None takes the client's.

        Returns:
            The current values of the account.
        """
        return self._call_endpoint(endpoints.get_user_info(), timeout)

    def wait_for_job(self, job_id: str, strategy: Poller | None = None, timeout: float | None = None) -> JobDetails:
        """Poll a job until it has ended, with or without success. The first poll is immediate.

        Args:
            job_id: the id of the job.
            strategy: the time between two polls, and the budget of the wait. None takes the client's.
            timeout: deadline of each HTTP request in seconds, above 0 and up to 3,600. None takes the client's.

        Returns:
            The job in its final state.

        Raises:
            JobTimeoutError: the strategy's budget ran out; the job goes on.
        """
        return self._poll_until_ended(job_id, JobWait(job_id, strategy or self._strategy), timeout)

    @without_locals
    def submit_and_wait(
        self,
        request: JobCreationRequest | ForeignModel | None = None,
        strategy: Poller | None = None,
        timeout: float | None = None,
        **fields: Unpack[JobFields],
    ) -> JobResult:
        """Buy a job, wait until it has ended, and fetch its tasks.

        Args:
            request: the request of the job. Give either this or `fields`.
            strategy: the time between two polls, and the budget of the wait. None takes the client's.
            timeout: deadline of each HTTP request in seconds, above 0 and up to 3,600. None takes the client's.
            **fields: the fields of a `JobCreationRequest` beside `timeout`.

        Returns:
            The job and its tasks with their contents, in the order of the input.

        Raises:
            TypeError: `request` and fields were both given, or neither.
            SubmitInDoubtError: the job may have been bought. The request is never sent again.
            JobTimeoutError: the strategy's budget ran out; the job goes on.
            JobFailedError: the status of the job is `error`. `result` of the exception holds the fetched tasks.
            JobCanceledError: the job was canceled. `result` of the exception holds the fetched tasks.
            ScrapeDoError: a task could not be fetched. `result` of the exception holds the fetched tasks.
        """
        request = as_request(request, fields)
        created = self.create_job(request, timeout=timeout)
        wait = JobWait(created.job_id, strategy or self._strategy, age=0.0)
        job = with_task_ids(self._poll_until_ended(created.job_id, wait, timeout), created)
        with ThreadPoolExecutor(self._concurrency) as pool:
            outcomes = list(pool.map(partial(self._fetch_task, job, timeout), job.task_ids))
        return build_result(request, job, outcomes)

    def _fetch_task(self, job: JobDetails, timeout: float | None, task_id: str) -> TaskDetails | ScrapeDoError:
        try:
            return as_final_task(
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
