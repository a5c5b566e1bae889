"""The frame of every step that works on parts: claim, hold, do, publish a step message for what follows."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from redis.exceptions import RedisError

from scrape_do_celery import routing, tracing
from scrape_do_celery.errors import EncryptionKeyError
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.runtime.endings import finish_stopped_part
from scrape_do_celery.runtime.isolation import NoTurnError
from scrape_do_celery.runtime.leases import LeaseLostError, hold
from scrape_do_celery.runtime.process import Runtime
from scrape_do_celery.runtime.rate_limiter import is_stopping
from scrape_do_celery.runtime.token_check import try_account
from scrape_do_celery.store import Claim, Member, PartState, RunState, ops
from scrape_do_celery.store.vault import unreadable

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

#: Seconds until a part is taken again of which something could not be read.
_LOCKED = 30.0
#: Seconds for which the first to end waits for others, so that a message tells of several.
_TOGETHER = 0.05

#: The answer of the store to a claim.
_Answer: TypeAlias = Claim | ops.Poisoned | ops.Foreign | ops.Locked | ops.Suspect | None
Handler = Callable[[Runtime, Claim], Awaitable[StepMessage | None]]


def serve(
    app: Celery,
    names: Iterable[str],
    states: Iterable[PartState],
    handler: Handler,
    *,
    seconds: float | None = None,
) -> None:
    """Carries a step out for each of its members that is in one of `states`, all at once, and publishes what follows.

    `seconds` is the life of a lease, where the step needs another than the usual.
    """
    runtime = Runtime.of(app)
    frame = Frame(list(states), handler, seconds or runtime.settings.lease_seconds)
    members = [Member.parse(name) for name in names]
    runtime.run(_all(runtime, members, frame))


@dataclass(frozen=True, slots=True)
class Frame:
    """What a step does, to parts in which states, under how long a lease."""

    states: list[PartState]
    handler: Handler
    seconds: float


async def _all(runtime: Runtime, members: list[Member], frame: Frame) -> None:
    """Publishes as they come to their end, a few at a time: a short one does not wait for a long one."""
    waiting = {asyncio.ensure_future(_one(runtime, member, frame)): member for member in members}
    try:
        while waiting:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(waiting, timeout=_TOGETHER)
            done = [work for work in waiting if work.done()]
            if messages := [message for work in done if (message := _outcome(waiting.pop(work), work))]:
                await asyncio.to_thread(runtime.producer.publish_all, messages)
    finally:
        for work in waiting:
            work.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _outcome(member: Member, work: asyncio.Future[StepMessage | None]) -> StepMessage | None:
    error = work.exception()
    if error is None:
        return work.result()
    if not isinstance(error, Exception):
        raise error
    _report(member, error)
    return None


async def _one(runtime: Runtime, member: Member, frame: Frame) -> StepMessage | None:
    """Work on a part beside others; on a suspect alone. A part that waits for its turn is not claimed."""
    name, isolation, token = str(member), runtime.isolation, uuid.uuid4().hex
    async with isolation.beside():
        answer = await _claimed(runtime, member, frame, token)
        if not isinstance(answer, ops.Suspect):
            return await _worked(runtime, member, frame, answer, token)
    with isolation.queued(name) as is_first:
        if not is_first:
            return None
        async with isolation.alone():
            answer = await _claimed(runtime, member, frame, token, isolated=True)
            return await _worked(runtime, member, frame, answer, token)


async def _claimed(runtime: Runtime, member: Member, frame: Frame, token: str, *, isolated: bool = False) -> _Answer:
    store, settings = runtime.store, runtime.settings
    return await store.run(
        ops.claim(
            store.keys,
            member,
            token,
            seconds=frame.seconds,
            states=frame.states,
            account=settings.account_id,
            auth_grace=settings.auth_grace,
            poison=ops.Poison(settings.poison_after, settings.stop_on_failure),
            isolated=isolated,
            outlived=runtime.isolation.outlived(str(member)),
        )
    )


async def _worked(runtime: Runtime, member: Member, frame: Frame, claim: _Answer, token: str) -> StepMessage | None:
    if isinstance(claim, ops.Poisoned):
        log.error("%s was taken out of work: steps on it died again and again", member)
        return StepMessage(routing.AGGREGATE_RUN, (member.run_id,)) if claim.left == 0 else None
    if isinstance(claim, ops.Foreign):
        runtime.warn_other_account(claim.account)
    if isinstance(claim, ops.Locked):
        runtime.warn_missing_key(str(unreadable(claim.key, runtime.store.keys.held)))
    if not isinstance(claim, Claim):
        return None
    name = frame.handler.__name__
    runtime.rate_limiter.counters.step_latency(name, claim.late)
    work = _handled(frame.handler, runtime, claim)
    try:
        with tracing.work(claim.trace, f"scrape_do.{name}", run_id=member.run_id, part=member.part):
            return await hold(runtime.store, claim, frame.seconds, work)
    except Exception:
        # The step failed, and the process lives: the next claim must not wait for the process to be empty.
        runtime.isolation.note_failure(str(member), token)
        raise


async def _handled(handler: Handler, runtime: Runtime, claim: Claim) -> StepMessage | None:
    is_stopping.set(claim.stop_reason is not None)
    if claim.breaker == "foreign":
        return await _foreign(runtime, claim)
    if claim.breaker and (refusal := await try_account(runtime)):
        if claim.breaker == "over":
            return await runtime.settle(claim, RunState.FAILED, refusal)
        await runtime.release_until(claim, {}, ops.PROBE)
        return None
    try:
        return await handler(runtime, claim)
    except EncryptionKeyError as error:
        # What others can read is not lost: the part is let go as it stands, and the try is not counted.
        runtime.warn_missing_key(str(error))
        await runtime.release_until(claim, {}, _LOCKED)
        return None


async def _foreign(runtime: Runtime, claim: Claim) -> StepMessage | None:
    """Ends a run of another account that is to end, where no worker with that account's token has in time."""
    if claim.stop_grace_passed(runtime.settings.cancel_grace):
        log.warning("%s ends without its job: no worker has the token that it was bought with", claim.member)
        return await finish_stopped_part(runtime, claim, None)
    await runtime.release_until(claim, {}, 1.0)
    return None


def _report(member: Member, error: Exception) -> None:
    """Logs what kept a step from its part. The lease runs out, and the dispatcher publishes again."""
    if isinstance(error, NoTurnError):
        log.info("%s did not get its turn in this process in time; it is published again", member)
    elif isinstance(error, LeaseLostError):
        log.warning("lost the lease of %s; another step goes on with it", member)
    elif isinstance(error, RedisError):
        log.warning("the store did not answer for %s: %s; it is published again", member, type(error).__name__)
    else:
        log.error("a step failed on %s; it is published again", member, exc_info=error)
