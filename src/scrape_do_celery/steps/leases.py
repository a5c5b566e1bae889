"""Hold the lease on a part, or on a list poll, while a step works."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import RedisError

from scrape_do_celery.store.commands.parts import RenewLease, UpdatePart, UpdateResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import AsyncStore, Claim, PartState
    from scrape_do_celery.store.command import Value

T = TypeVar("T")

_CANCEL_AGAIN = 0.05


class LeaseLostError(Exception):
    """The lease has expired, or another step has the part. The step must call and write nothing more."""


async def write_claimed(
    context: WorkerContext,
    claim: Claim,
    fields: Mapping[str, Value],
    job: JobDetails | None = None,
    to: PartState | None = None,
) -> None:
    """Change fields of a claimed part, which the step keeps. `job` and `to` are as in `UpdatePart`.

    Raises:
        LeaseLostError: If another step has the part.
    """
    if await context.write(UpdatePart(claim, fields, to=to, job=job)) is not UpdateResult.OK:
        raise LeaseLostError(str(claim.part_id))


async def with_lease(store: AsyncStore, claim: Claim, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` and return its result. Renew the lease on the part every third of its life of `seconds`.

    Raises:
        LeaseLostError: If the lease could not be kept. `work` was cancelled.
    """

    async def renew() -> bool:
        return await store.run(RenewLease(claim, seconds))

    return await while_renewed(work, renew, seconds, str(claim.part_id))


async def while_renewed(
    work: Coroutine[Any, Any, T], renew: Callable[[], Awaitable[bool]], seconds: float, what: str
) -> T:
    """Run `work` and return its result, while `renew` keeps the lease on `what` for another `seconds`.

    Raises:
        LeaseLostError: If the lease could not be kept. `work` was cancelled.
    """
    job = asyncio.ensure_future(work)
    keeper = asyncio.ensure_future(_renew_loop(renew, seconds))
    try:
        await asyncio.wait({job, keeper}, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        raise LeaseLostError(what)
    finally:
        await _cancel_work(job)
        await _cancel_work(keeper)


async def _cancel_work(work: asyncio.Future[Any]) -> None:
    """Cancel until the future is done: redis-py was seen to swallow a cancellation, and to go on."""
    while not work.done():
        work.cancel()
        await asyncio.wait({work}, timeout=_CANCEL_AGAIN)
    if not work.cancelled():
        work.exception()  # retrieved, so that asyncio does not report the error a second time


async def _renew_loop(renew: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Renew until the lease is lost: the renewal was refused, or failed for the whole life of the lease."""
    clock = asyncio.get_running_loop().time
    last = clock()
    while (left := last + seconds - clock()) > 0:
        await asyncio.sleep(min(left, seconds / 3))
        began = clock()
        try:
            async with asyncio.timeout(max(0.0, min(last + seconds - began, seconds / 3))):
                if not await renew():
                    return
        except (RedisError, TimeoutError):
            continue
        last = began
