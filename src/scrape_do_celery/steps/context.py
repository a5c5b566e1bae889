"""Open, share and close what all steps of a process need: settings, store, API clients, limits, event loop."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from celery import Celery, _state
from redis.exceptions import RedisError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient
from scrape_do_celery.client.pooled_reads import PooledReadTransport
from scrape_do_celery.client.routes import network_arguments, read_route
from scrape_do_celery.client.submission import SubmitClient
from scrape_do_celery.errors import AsyncAPIAuthError, ConfigurationError, ScrapeDoError, StoreUnavailableError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.backoff import delay
from scrape_do_celery.runs import AppContext
from scrape_do_celery.steps.absence_check import AbsenceCheck
from scrape_do_celery.steps.isolation import Isolation
from scrape_do_celery.steps.job_list import AT_ONCE, JobListReader, note_api_clock
from scrape_do_celery.steps.loop import LoopThread
from scrape_do_celery.steps.once import DefaultedFields, OnceFilter
from scrape_do_celery.steps.page_memory import PageMemory
from scrape_do_celery.steps.rate_limiter import RateLimiter, is_stopping
from scrape_do_celery.steps.sent_purchases import SentPurchases
from scrape_do_celery.steps.store_health import StoreHealth
from scrape_do_celery.steps.token_check import TokenCheck
from scrape_do_celery.store import AsyncStore
from scrape_do_celery.store.commands.parts import UpdatePart, UpdateResult
from scrape_do_celery.store.commands.stats import ReadClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from scrape_do_celery.models import JobDetails, JobsListResponse, TaskDetails
    from scrape_do_celery.store import Claim, PartState
    from scrape_do_celery.store.command import Command

T = TypeVar("T")
log = get_logger(__name__)

#: Requests in flight in one process, and purchases in flight. More connections cost too much time in httpx itself.
CALLS, PURCHASES = 50, 10
#: Requests in flight for tasks of running jobs. The other requests are left to the tasks of jobs that have ended.
EARLY = 5
#: Number of different poll intervals. The last one is the longest.
_INTERVALS = 50
_ATTRIBUTE = "scrape_do_worker_context"
_lock = threading.Lock()


class WorkerContext:
    """The shared objects of one worker process. Its Celery app holds the context.

    Attributes:
        submit_semaphore: The permits for a `POST`. Each permit has a free connection.
        early_fetch_semaphore: The permits for requests for tasks of running jobs.
        asking: The thread that asks Celery for revoked runs.
    """

    def __init__(  # noqa: PLR0913 (one argument for each collaborator)
        self,
        app_context: AppContext,
        *,
        store: AsyncStore,
        client: AsyncScrapeDoAsyncAPIClient,
        submit_client: SubmitClient,
        rate_limiter: RateLimiter,
        loop: LoopThread,
        page_memory: PageMemory | None = None,
        health: StoreHealth | None = None,
        job_list: JobListReader | None = None,
        absences: AbsenceCheck | None = None,
        once: OnceFilter | None = None,
    ) -> None:
        self.app_context, self.settings, self.pid = app_context, app_context.settings, os.getpid()
        self.store, self.client, self.submit_client, self.rate_limiter = store, client, submit_client, rate_limiter
        self.submit_semaphore, self.early_fetch_semaphore = asyncio.Semaphore(PURCHASES), asyncio.Semaphore(EARLY)
        self.health, self.isolation = health or StoreHealth(store), Isolation()
        self.sent_purchases = SentPurchases()
        self.page_memory, self.once = page_memory or PageMemory(), once or OnceFilter()
        self.job_list = job_list or JobListReader(self.list_jobs)
        self.absences = absences or AbsenceCheck(tolerance=self.settings.api_clock_tolerance)
        self.token, self.asking, self._loop = TokenCheck(self.ask_account), threading.Thread(), loop

    @classmethod
    def open(cls, app_context: AppContext) -> WorkerContext:
        """Open the clients, the store and the loop of this process. Call this only after the fork.

        Raises:
            ConfigurationError: If the settings have no token.
        """
        api_key = app_context.settings.api_key
        if api_key is None:
            raise ConfigurationError(
                "SCRAPE_DO_API_KEY is not set: set it, because a worker needs the token to call the API"
            )
        settings, page_memory, once = app_context.settings, PageMemory(), OnceFilter()
        store = AsyncStore.open(
            settings.redis_url,
            settings.key_prefix,
            app_context.store.encryptor,
            timeout=settings.store_timeout,
            clock_offset_key=app_context.timing.clock_offset_key,
        )
        rate_limiter = RateLimiter(store, here=CALLS, limit=settings.max_requests, rate=settings.request_rate)
        common: dict[str, Any] = {
            "base_url": settings.api_url,
            # Retries are noted in the record instead: there they outlive this process, and hold no request slot.
            "max_retries": 0,
            "max_page_bytes": settings.max_page_bytes,
            "on_default": DefaultedFields(rate_limiter.counters, once, settings.api_url).note_default,
        }
        client = AsyncScrapeDoAsyncAPIClient(
            api_key,
            timeout=settings.request_timeout,
            transport=PooledReadTransport(CALLS, read_route(**network_arguments(settings))),
            on_response=note_api_clock,
            large_page=page_memory.grow,
            **common,
        )
        # A `POST` has connections of its own, so that no fetch delays it while its deadline runs.
        own_connections = {"concurrency": PURCHASES, **network_arguments(settings)}
        submit_client = SubmitClient(api_key, timeout=settings.submit_deadline, **own_connections, **common)
        return cls(
            app_context,
            store=store,
            client=client,
            submit_client=submit_client,
            rate_limiter=rate_limiter,
            # The clients exist before the thread of the loop: an import there and here at once could block both.
            loop=LoopThread(app_context.timing.loop_time),
            page_memory=page_memory,
            once=once,
        )

    @classmethod
    def for_app(cls, app: Celery) -> WorkerContext:
        """Return the context of this process. After a fork, make a new one."""
        with _lock:
            found: WorkerContext | None = app.__dict__.get(_ATTRIBUTE)
            if found is None or found.pid != os.getpid():
                found = app.__dict__[_ATTRIBUTE] = cls.open(AppContext.for_app(app))
            return found

    @staticmethod
    def apps() -> list[Celery]:
        """Return the apps of this process that have a worker context."""
        return [app for app in _state._get_active_apps() if _ATTRIBUTE in app.__dict__]  # noqa: SLF001

    @staticmethod
    def close_for_app(app: Celery, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Close the context of this process, if it has one. `is_hurried` is as in `close`."""
        with _lock:
            found: WorkerContext | None = app.__dict__.pop(_ATTRIBUTE, None)
        if found is not None and found.pid == os.getpid():
            found.close(is_hurried)

    async def call(self, method: Callable[..., Awaitable[T]], *args: Any, **named: Any) -> T:
        """Call a method of the client. Wait for a request slot first; the timeout of the call begins after that."""
        async with self.rate_limiter.acquire(), self.page_memory.page():
            with self.rate_limiter.counters.request(method.__name__):
                return await method(*args, **named)

    async def call_for_one(self, method: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Call a method of the client for one job. If the API accepts the token, a 401 or 403 is a plain refusal."""
        try:
            return await self.call(method, *args)
        except AsyncAPIAuthError as error:
            raise await self.token.judge_refusal(error) from None

    async def get_task(self, job_id: str, task_id: str) -> TaskDetails:
        """Fetch a task like `call_for_one`, but behind most other requests, because many tasks are fetched at once."""
        try:
            async with self.rate_limiter.acquire(low_priority=True), self.page_memory.page():
                with self.rate_limiter.counters.request("get_task"):
                    return await self.client.get_task(job_id, task_id)
        except AsyncAPIAuthError as error:
            raise await self.token.judge_refusal(error) from None

    async def list_jobs(self, **filters: Any) -> JobsListResponse:
        """Read a page of the job list like `call`."""
        return await self.call(self.client.list_jobs, **filters)

    async def ask_account(self) -> ScrapeDoError | None:
        """Ask the API for the account. Return its error, or None if the API accepts the token."""
        urgent = is_stopping.set(True)
        try:
            await self.call(self.client.get_user_info)
        except StoreUnavailableError:
            # The API is not at fault.
            raise
        except ScrapeDoError as error:
            return error
        finally:
            is_stopping.reset(urgent)
        return None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop of the process. Return its result."""
        return self._loop.run(work)

    def wake_loop(self) -> None:
        """Make the loop read its time again, because a test has moved that time."""
        self._loop.wake()

    def close(self, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Close the clients, the store and the loop, once the answers to purchases are stored.

        A step that has lost its part does not wait for the answer, so the answer may come after all steps have ended. A
        purchase that does not end in its own time, or after `is_hurried` is true, is left to a search.
        """
        self._loop.run(self._close(is_hurried))
        self._loop.close()

    async def _close(self, is_hurried: Callable[[], bool]) -> None:
        longest = self.settings.submit_deadline + self.settings.submit_visibility_grace
        await self.sent_purchases.wait_for_all(longest, is_hurried)
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

    async def write(self, command: Command[T], give_up_after: float | None = None) -> T:
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

    async def release_until(  # noqa: PLR0913 (one argument a thing that changes)
        self,
        claim: Claim,
        fields: dict[str, Any],
        after: float,
        job: JobDetails | None = None,
        *,
        redispatch_after: float | None = None,
        to: PartState | None = None,
        hints_seen: int | None = None,
    ) -> UpdateResult:
        """Release a part until `after` seconds from now.

        `redispatch_after`, `to`, `hints_seen` and the result are as in `UpdatePart`.
        """
        command = UpdatePart(
            claim, fields, to=to, after=after, job=job, redispatch_after=redispatch_after, hints_seen=hints_seen
        )
        result = await self.write(command)
        if result is UpdateResult.FORBIDDEN:
            log.error(
                "%s: the store refused the change from %s to %s, which TRANSITIONS does not list; report this bug",
                claim.part_id,
                claim.part.state,
                to,
                extra=log_fields("transition_refused", claim.part_id),
            )
        return result

    async def store_clock_offset(self) -> float | None:
        """Return the seconds by which the store's clock is ahead of the loop's; None if the answer took too long."""
        clock = asyncio.get_running_loop().time
        asked = clock()
        told = await self.store.run(ReadClock())
        return told - asked if clock() - asked < AT_ONCE else None

    def backoff(self, tries: int, longest: float = 30.0) -> float:
        """Return the seconds until the next attempt, after `tries` attempts; `longest` at most."""
        return delay(tries, initial=1.0, maximum=longest, jitter=0.5, random=random.random)
