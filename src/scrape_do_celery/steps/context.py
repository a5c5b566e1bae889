"""The context that all steps of a process share: settings, store, API clients, limits, and the event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from celery import Celery, _state
from redis.exceptions import RedisError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from scrape_do_celery import routing
from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient
from scrape_do_celery.client.pooled_reads import PooledReadTransport
from scrape_do_celery.errors import AsyncAPIAuthError, AsyncAPIRateLimitError, ConfigurationError, ScrapeDoError
from scrape_do_celery.rules.api_errors import decide_retry, describe_trouble, is_auth, is_client_error, pause_after
from scrape_do_celery.rules.backoff import delay
from scrape_do_celery.runs import AppContext, StepMessage
from scrape_do_celery.steps.absences import AbsenceCheck
from scrape_do_celery.steps.isolation import Isolation
from scrape_do_celery.steps.job_list import AT_ONCE, JobListReader
from scrape_do_celery.steps.loop import LoopThread
from scrape_do_celery.steps.page_memory import PageMemory
from scrape_do_celery.steps.rate_limiter import PausedError, RateLimiter
from scrape_do_celery.steps.status_words import WordLog
from scrape_do_celery.steps.store_health import StoreHealth
from scrape_do_celery.steps.token_check import TokenCheck, hold_account
from scrape_do_celery.store import AsyncStore, Claim, PartState, RunState, ops

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from pydantic import SecretStr

    from scrape_do_celery.models import JobDetails, JobsListResponse, TaskDetails

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Requests in flight in one process, and purchases in flight. More connections cost too much time in httpx itself.
CALLS, PURCHASES = 50, 10
#: Requests in flight for tasks of running jobs. The other requests are left to the tasks of jobs that have ended.
EARLY = 5
#: Number of different poll intervals. The last one is the longest.
_INTERVALS = 50
_ATTRIBUTE = "scrape_do_worker_context"
_lock = threading.Lock()
#: Outcomes after which parts that were not sent stay unsent.
_STOPPING = {RunState.FAILED, RunState.POISONED, RunState.LOST, RunState.IN_DOUBT}


class WorkerContext:
    """The shared objects of one worker process. Its Celery app holds the context."""

    store: AsyncStore
    client: AsyncScrapeDoAsyncAPIClient
    submit_client: AsyncScrapeDoAsyncAPIClient
    #: The permits for a `POST`. Each permit has a free connection.
    submit_semaphore: asyncio.Semaphore
    #: The permits for requests for tasks of running jobs.
    early_fetch_semaphore: asyncio.Semaphore
    rate_limiter: RateLimiter
    job_list: JobListReader
    health: StoreHealth
    isolation: Isolation
    page_memory: PageMemory
    #: The thread that asks Celery for revoked runs.
    asking: threading.Thread
    #: The unknown status words that were logged, the check of missing jobs, and the check of the token.
    words: WordLog
    absences: AbsenceCheck
    token: TokenCheck

    def __init__(self, app_context: AppContext) -> None:
        self.app_context, self.settings, self.pid = app_context, app_context.settings, os.getpid()
        if self.settings.api_key is None:
            raise ConfigurationError("SCRAPE_DO_API_KEY is not set: a worker cannot call the API without its token")
        self._others: set[str] = set()
        self._missing_keys: set[str] = set()
        self._defaulted: set[tuple[str, str]] = set()
        self.asking = threading.Thread()
        self._loop = LoopThread()
        self._loop.run(self._open(self.settings.api_key))

    @classmethod
    def for_app(cls, app: Celery) -> WorkerContext:
        """Return the context of this process. After a fork, make a new one."""
        with _lock:
            found: WorkerContext | None = app.__dict__.get(_ATTRIBUTE)
            if found is None or found.pid != os.getpid():
                found = app.__dict__[_ATTRIBUTE] = cls(AppContext.for_app(app))
            return found

    @staticmethod
    def apps() -> list[Celery]:
        """Return the apps of this process that have a worker context."""
        return [app for app in _state._get_active_apps() if _ATTRIBUTE in app.__dict__]  # noqa: SLF001

    @staticmethod
    def close_for_app(app: Celery) -> None:
        """Close the context of this process, if it has one."""
        with _lock:
            found: WorkerContext | None = app.__dict__.pop(_ATTRIBUTE, None)
        if found is not None and found.pid == os.getpid():
            found.close()

    async def _open(self, api_key: SecretStr) -> None:
        self.store = AsyncStore.open(
            self.settings.redis_url, self.settings.key_prefix, self.app_context.store.keys.encryptor
        )
        self.health, self.isolation, self.page_memory = StoreHealth(self.store), Isolation(), PageMemory()
        self.job_list = JobListReader(self.list_jobs)
        self.client = AsyncScrapeDoAsyncAPIClient(
            api_key,
            base_url=self.settings.api_url,
            timeout=self.settings.request_timeout,
            # Retries are noted in the record instead: there they outlive this process, and hold no request slot.
            max_retries=0,
            transport=PooledReadTransport(CALLS),
            on_response=self.job_list.note_api_clock,
            max_page_bytes=self.settings.max_page_bytes,
            on_default=self.default_taken,
            large_page=self.page_memory.grow,
        )
        # A `POST` has connections of its own, so that no fetch delays it while its deadline runs.
        self.submit_client = AsyncScrapeDoAsyncAPIClient(
            api_key,
            base_url=self.settings.api_url,
            timeout=self.settings.submit_deadline,
            max_retries=0,
            concurrency=PURCHASES,
            max_page_bytes=self.settings.max_page_bytes,
            on_default=self.default_taken,
        )
        self.submit_semaphore, self.early_fetch_semaphore = asyncio.Semaphore(PURCHASES), asyncio.Semaphore(EARLY)
        limit, rate = self.settings.max_requests, self.settings.request_rate
        self.words, self.absences, self.token = WordLog(), AbsenceCheck(), TokenCheck()
        self.rate_limiter = RateLimiter(self.store, here=CALLS, limit=limit, rate=rate)

    async def call(self, method: Callable[..., Awaitable[T]], *args: Any, **named: Any) -> T:
        """Call a method of the client. Wait for a request slot first; the timeout of the call begins after that."""
        async with self.rate_limiter.acquire(), self.page_memory.page():
            with self.rate_limiter.counters.request(method.__name__):
                return await method(*args, **named)

    async def call_for_one(self, method: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Call a method of the client for one job. If the API takes the token, a 401 or 403 is a plain refusal."""
        try:
            return await self.call(method, *args)
        except AsyncAPIAuthError as error:
            raise await self.token.judge(self, error) from None

    async def get_task(self, job_id: str, task_id: str) -> TaskDetails:
        """Fetch a task like `call_for_one`, but behind most other requests, because many tasks are fetched at once."""
        try:
            async with self.rate_limiter.acquire(low_priority=True), self.page_memory.page():
                with self.rate_limiter.counters.request("get_task"):
                    return await self.client.get_task(job_id, task_id)
        except AsyncAPIAuthError as error:
            raise await self.token.judge(self, error) from None

    async def list_jobs(self, **filters: Any) -> JobsListResponse:
        """Read a page of the job list like `call`."""
        return await self.call(self.client.list_jobs, **filters)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop of the process. Return its result."""
        return self._loop.run(work)

    def close(self) -> None:
        """Close the clients, the store and the loop."""
        self._loop.run(self._close())
        self._loop.close()

    async def _close(self) -> None:
        await self.rate_limiter.aclose()
        await self.client.aclose()
        await self.submit_client.aclose()
        await self.store.aclose()

    def interval(self, polls: int, jitter: float = 0.5) -> float:
        """Return the seconds until the next poll of a job that was polled `polls` times."""
        s = self.settings
        return delay(
            polls,
            initial=s.poll_initial_interval,
            maximum=s.poll_max_interval,
            multiplier=s.poll_multiplier,
            jitter=jitter if s.poll_jitter else 0.0,
            random=random.random,
        )

    @property
    def intervals(self) -> list[float]:
        """The longest poll intervals, by the number of polls before. The last one also holds for all later polls."""
        found = [0.0]
        while found[-1] < self.settings.poll_max_interval and len(found) < _INTERVALS:
            found.append(self.interval(len(found) - 1, jitter=0.0))
        return found[1:]

    async def write(self, command: ops.Command[T], give_up_after: float | None = None) -> T:
        """Carry out a command that writes. Retry for `give_up_after` seconds (default: `submit_visibility_grace`).

        Only the step knows the result of its request. If the store is down for a moment, that result must not be lost.
        """
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(RedisError),
            stop=stop_after_delay(give_up_after or self.settings.submit_visibility_grace),
            wait=wait_random_exponential(max=2),
            reraise=True,
        ):
            with attempt:
                answer = await self.store.run(command)
        return answer

    async def settle(
        self, claim: Claim, outcome: str, error: ScrapeDoError | None = None, *, purchase_status: str = ""
    ) -> StepMessage | None:
        """End a part. Return the message for the aggregate step if it was the last part.

        `purchase_status` is the new status of the part's purchase in the ledger.
        """
        if claim.part.refused and claim.part.state is PartState.RECONCILING and not purchase_status:
            purchase_status = ops.PurchaseStatus.VOID
        if claim.is_unresolved and not purchase_status:
            purchase_status = ops.PurchaseStatus.IN_DOUBT
            if outcome not in {RunState.IN_DOUBT, RunState.POISONED}:
                # With any other reason, it stays unknown whether a job exists.
                outcome, error = RunState.IN_DOUBT, claim.in_doubt_error(str(error or outcome))
        skip_unsent = self.settings.stop_on_failure and outcome in _STOPPING
        left = await self.write(
            ops.finish_part(
                self.store.keys, claim, outcome, error=error, skip_unsent=skip_unsent, purchase_status=purchase_status
            )
        )
        return StepMessage(routing.AGGREGATE_RUN, (claim.part_id.run_id,)) if left == 0 else None

    async def release_until(  # noqa: PLR0913 (one argument a thing that changes)
        self,
        claim: Claim,
        fields: dict[str, Any],
        after: float,
        job: JobDetails | None = None,
        *,
        redispatch_after: float | None = None,
        to: PartState | None = None,
    ) -> None:
        """Release a part until `after` seconds from now. `redispatch_after` and `to` are as in `ops.update_part`."""
        command = ops.update_part(
            self.store.keys, claim, fields, to=to, after=after, job=job, redispatch_after=redispatch_after
        )
        if await self.write(command) == ops.FORBIDDEN:
            log.error("%s: the store refused the change from %s to %s", claim.part_id, claim.part.state, to)

    async def retry_after_error(
        self,
        claim: Claim,
        error: ScrapeDoError,
        fields: dict[str, Any] | None = None,
        *,
        may_end: bool = True,
        to: PartState | None = None,
    ) -> StepMessage | None:
        """Release a part for a retry after an API error, in the state `to`.

        With `may_end`, end it if a refusal has lasted too long.
        """
        since = claim.part.refused_since
        verdict = decide_retry(
            error,
            failures=claim.part.api_failures,
            refused_for=claim.now - since if may_end and since is not None else None,
            longest=self.settings.poll_max_interval,
            auth_grace=self.settings.auth_grace,
        )
        await self.apply_to_all_workers(error)
        # Log the first of consecutive errors as a warning, and then each tenth.
        level = logging.INFO if claim.part.api_failures % 10 else logging.WARNING
        log.log(level, "%s: %s: %s; again in %.1f s", claim.part_id, self.settings.api_url, error, verdict.after)
        if verdict.fatal:
            return await self.settle(
                claim, RunState.FAILED, error, purchase_status=str((fields or {}).get("purchase_status", ""))
            )
        refused_since = since or claim.now if is_client_error(error) else 0
        noted = {
            "api_failures": claim.part.api_failures + 1,
            "api_error": describe_trouble(error),
            "refused_since": f"{refused_since:.4f}",
        }
        # A run with a stop request retries often enough to end in time.
        after = verdict.after if claim.stop_reason is None else min(verdict.after, self.settings.cancel_grace)
        await self.release_until(claim, {**noted, **(fields or {})}, after, to=to)
        return None

    async def apply_to_all_workers(self, error: ScrapeDoError) -> None:
        """Inform all workers of an error that concerns all calls: a refused token, or a 429, which pauses them."""
        if is_auth(error):
            await hold_account(self, error)
        elif isinstance(error, AsyncAPIRateLimitError) and not isinstance(error, PausedError):
            self.rate_limiter.pause(pause_after(error))
            await self.write(ops.pause_api(self.store.keys, pause_after(error)))

    async def store_clock_offset(self) -> float | None:
        """Return the seconds by which the store's clock is ahead of the loop's; None if the answer took too long."""
        clock = asyncio.get_running_loop().time
        asked = clock()
        told = await self.store.run(ops.clock())
        return told - asked if clock() - asked < AT_ONCE else None

    def backoff(self, tries: int) -> float:
        """Return the seconds until the next attempt, after `tries` attempts."""
        return delay(tries, initial=1.0, maximum=30.0, jitter=0.5, random=random.random)

    def warn_other_account(self, account: str) -> None:
        """Warn that runs wait for a worker with the token that bought their jobs. Warn once for each account."""
        if account not in self._others:
            self._others.add(account)
            log.warning(
                "runs of the account %s wait for a worker with its token; this worker's account is %s",
                account,
                self.settings.account_id,
            )

    def warn_missing_key(self, why: str) -> None:
        """Warn that runs wait for a worker with another encryption key. Warn once for each key."""
        if why not in self._missing_keys:
            self._missing_keys.add(why)
            log.error("runs wait for a worker with another key: %s", why)

    def default_taken(self, model: str, field: str) -> None:
        """Count a field of an answer whose value is unreadable. Log the field once."""
        self.rate_limiter.counters.add(f"defaults:{model}.{field}")
        if (model, field) not in self._defaulted:
            self._defaulted.add((model, field))
            log.warning(
                "%s sends a value of %s.%s that cannot be read; the default is used, and later ones are only counted",
                self.settings.api_url,
                model,
                field,
            )
