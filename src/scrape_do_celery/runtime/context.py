"""What steps of one process share: settings, the store, the API client, and the loop that they run on."""

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
from scrape_do_celery.backoff import delay
from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient
from scrape_do_celery.client._reading import PooledReadTransport
from scrape_do_celery.errors import AsyncAPIAuthError, AsyncAPIRateLimitError, ConfigurationError, ScrapeDoError
from scrape_do_celery.runs import AppContext, StepMessage
from scrape_do_celery.runtime.absences import AbsenceCheck
from scrape_do_celery.runtime.api_errors import describe_trouble, is_auth, is_client_error, pause_after, retry_decision
from scrape_do_celery.runtime.isolation import Isolation
from scrape_do_celery.runtime.job_list import AT_ONCE, JobListReader
from scrape_do_celery.runtime.loop import LoopThread
from scrape_do_celery.runtime.observing import WordLog
from scrape_do_celery.runtime.page_memory import PageMemory
from scrape_do_celery.runtime.rate_limiter import PausedError, RateLimiter
from scrape_do_celery.runtime.store_health import StoreHealth
from scrape_do_celery.runtime.token_check import TokenCheck, hold_account
from scrape_do_celery.store import AsyncStore, Claim, PartState, RunState, ops

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from pydantic import SecretStr

    from scrape_do_celery.models import JobDetails, JobsListResponse, TaskDetails

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Requests under way at once in one process, and purchases: more connections than this cost httpx itself too much.
CALLS, PURCHASES = 50, 10
#: Requests for tasks of jobs that go on: whatever they are, they leave room for those of jobs that have ended.
EARLY = 5
#: Intervals that are told apart; the last one is the longest.
_INTERVALS = 50
_ATTRIBUTE = "scrape_do_worker_context"
_lock = threading.Lock()
#: Outcomes after which parts that were not sent stay unsent.
_STOPPING = {RunState.FAILED, RunState.POISONED, RunState.LOST, RunState.IN_DOUBT}


class WorkerContext:
    """The shared things of one worker process, hung on its Celery app."""

    store: AsyncStore
    client: AsyncScrapeDoAsyncAPIClient
    submit_client: AsyncScrapeDoAsyncAPIClient
    #: Room for a `POST`; who has it finds a connection free.
    submit_semaphore: asyncio.Semaphore
    #: Room for a task whose job goes on.
    early_fetch_semaphore: asyncio.Semaphore
    rate_limiter: RateLimiter
    job_list: JobListReader
    health: StoreHealth
    isolation: Isolation
    page_memory: PageMemory
    #: Asks Celery for runs that were revoked.
    asking: threading.Thread
    #: Unknown status words that were logged, jobs that were not found, and whether the API takes the token.
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
        """The context of this process; made anew after a fork."""
        with _lock:
            found: WorkerContext | None = app.__dict__.get(_ATTRIBUTE)
            if found is None or found.pid != os.getpid():
                found = app.__dict__[_ATTRIBUTE] = cls(AppContext.for_app(app))
            return found

    @staticmethod
    def apps() -> list[Celery]:
        """The apps of this process that have a worker context."""
        return [app for app in _state._get_active_apps() if _ATTRIBUTE in app.__dict__]  # noqa: SLF001

    @staticmethod
    def close_for_app(app: Celery) -> None:
        """Closes the context of this process, if it has one."""
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
            # Trying again is written down in the record, where it outlives this process and holds no slot.
            max_retries=0,
            transport=PooledReadTransport(CALLS),
            on_response=self.job_list.note_api_clock,
            max_page_bytes=self.settings.max_page_bytes,
            on_default=self.default_taken,
            large_page=self.page_memory.grow,
        )
        # A `POST` has connections of its own, so that no fetch holds it up while its deadline runs.
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
        """What a method of the client answers; it waits for its share of requests before its time begins to run."""
        async with self.rate_limiter.acquire(), self.page_memory.page():
            with self.rate_limiter.counters.request(method.__name__):
                return await method(*args, **named)

    async def call_for_one(self, method: Callable[..., Awaitable[T]], *args: Any) -> T:
        """What a method of the client answers for one job. A refusal of the job alone is no error of the token."""
        try:
            return await self.call(method, *args)
        except AsyncAPIAuthError as error:
            raise await self.token.judge(self, error) from None

    async def get_task(self, job_id: str, task_id: str) -> TaskDetails:
        """A task, as `call_for_one` would answer it; behind most other requests: pages come in crowds."""
        try:
            async with self.rate_limiter.acquire(low_priority=True), self.page_memory.page():
                with self.rate_limiter.counters.request("get_task"):
                    return await self.client.get_task(job_id, task_id)
        except AsyncAPIAuthError as error:
            raise await self.token.judge(self, error) from None

    async def list_jobs(self, **filters: Any) -> JobsListResponse:
        """One page of the job list, as `call` would answer it."""
        return await self.call(self.client.list_jobs, **filters)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns, run on the process's loop."""
        return self._loop.run(work)

    def close(self) -> None:
        """Gives back what was opened."""
        self._loop.run(self._close())
        self._loop.close()

    async def _close(self) -> None:
        await self.rate_limiter.aclose()
        await self.client.aclose()
        await self.submit_client.aclose()
        await self.store.aclose()

    def interval(self, polls: int, jitter: float = 0.5) -> float:
        """Seconds until the next look at a job that was looked at so often."""
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
        """The longest that each interval can be, by the number of looks before; the last one stands for all behind."""
        found = [0.0]
        while found[-1] < self.settings.poll_max_interval and len(found) < _INTERVALS:
            found.append(self.interval(len(found) - 1, jitter=0.0))
        return found[1:]

    async def write(self, command: ops.Command[T], give_up_after: float | None = None) -> T:
        """Return the store's answer. Ask again for at most `patience` seconds (default: `submit_visibility_grace`).

        What became of a request is known only to its step: a store that is away for a moment must not make us forget.
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
                # Whatever ends it: nobody knows whether there is a job.
                outcome, error = RunState.IN_DOUBT, claim.in_doubt_error(str(error or outcome))
        skip_unsent = self.settings.stop_on_failure and outcome in _STOPPING
        left = await self.write(
            ops.finish_part(
                self.store.keys, claim, outcome, error=error, skip_unsent=skip_unsent, purchase_status=purchase_status
            )
        )
        return StepMessage(routing.AGGREGATE_RUN, (claim.part_id.run_id,)) if left == 0 else None

    async def release_until(
        self,
        claim: Claim,
        fields: dict[str, Any],
        after: float,
        job: JobDetails | None = None,
        redispatch_after: float | None = None,
    ) -> None:
        """Lets a part go, to be looked at again `after` seconds from now; `redispatch_after` as for `ops.update`."""
        await self.write(
            ops.update_part(self.store.keys, claim, fields, after=after, job=job, redispatch_after=redispatch_after)
        )

    async def retry_after_error(
        self, claim: Claim, error: ScrapeDoError, fields: dict[str, Any] | None = None, *, may_end: bool = True
    ) -> StepMessage | None:
        """Lets a part go because of an error of the API; ends it where a refusal has stood too long, if it may."""
        longest, auth_grace = self.settings.poll_max_interval, self.settings.auth_grace
        verdict = retry_decision(error, claim, longest=longest, auth_grace=auth_grace, may_end=may_end)
        await self.apply_to_all_workers(error)
        # The first of a row is told aloud, and then one in ten.
        level = logging.INFO if claim.part.api_failures % 10 else logging.WARNING
        log.log(level, "%s: %s: %s; again in %.1f s", claim.part_id, self.settings.api_url, error, verdict.after)
        if verdict.fatal:
            return await self.settle(
                claim, RunState.FAILED, error, purchase_status=str((fields or {}).get("purchase_status", ""))
            )
        since = claim.part.refused_since or claim.now if is_client_error(error) else 0
        noted = {
            "api_failures": claim.part.api_failures + 1,
            "api_error": describe_trouble(error),
            "refused_since": f"{since:.4f}",
        }
        # A run that is to end looks often enough to end in time.
        after = verdict.after if claim.stop_reason is None else min(verdict.after, self.settings.cancel_grace)
        await self.release_until(claim, {**noted, **(fields or {})}, after)
        return None

    async def apply_to_all_workers(self, error: ScrapeDoError) -> None:
        """Lets every worker know what an error says about all calls: a token that is refused, a pause after 429."""
        if is_auth(error):
            await hold_account(self, error)
        elif isinstance(error, AsyncAPIRateLimitError) and not isinstance(error, PausedError):
            self.rate_limiter.pause(pause_after(error))
            await self.write(ops.pause_api(self.store.keys, pause_after(error)))

    async def store_clock_offset(self) -> float | None:
        """Seconds by which the store's clock is ahead of the loop's; None where it took too long to tell."""
        clock = asyncio.get_running_loop().time
        asked = clock()
        told = await self.store.run(ops.clock())
        return told - asked if clock() - asked < AT_ONCE else None

    def backoff(self, tries: int) -> float:
        """Seconds until what was tried so often is tried again."""
        return delay(tries, initial=1.0, maximum=30.0, jitter=0.5, random=random.random)

    def warn_other_account(self, account: str) -> None:
        """Tells that runs wait for a worker with the token that they were bought with. Said once an account."""
        if account not in self._others:
            self._others.add(account)
            log.warning(
                "runs of the account %s wait for a worker with its token; this worker's account is %s",
                account,
                self.settings.account_id,
            )

    def warn_missing_key(self, why: str) -> None:
        """Tells that runs wait for a worker with another encryption key. Said once a key."""
        if why not in self._missing_keys:
            self._missing_keys.add(why)
            log.error("runs wait for a worker with another key: %s", why)

    def default_taken(self, model: str, field: str) -> None:
        """Count a field of an answer whose value cannot be read. Log the field once."""
        self.rate_limiter.counters.add(f"defaults:{model}.{field}")
        if (model, field) not in self._defaulted:
            self._defaulted.add((model, field))
            log.warning(
                "%s sends a value of %s.%s that cannot be read; the default is used, and later ones are only counted",
                self.settings.api_url,
                model,
                field,
            )
