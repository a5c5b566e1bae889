"""Run a step on its parts: claim, renew the lease, do the work, publish a step message for what follows."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from scrape_do_celery import routing, tracing
from scrape_do_celery.errors import EncryptionKeyError, RefusedValueError
from scrape_do_celery.errors.base import describe_error
from scrape_do_celery.local_variables import clear_locals
from scrape_do_celery.log_fields import about_run, get_logger, in_step, log_fields
from scrape_do_celery.rules.waits import WaitKind
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.breaker import try_account
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.isolation import NoTurnError
from scrape_do_celery.steps.leases import LeaseLostError, with_lease
from scrape_do_celery.steps.loop import call_in_caller
from scrape_do_celery.steps.rate_limiter import is_stopping
from scrape_do_celery.steps.unsent import end_stopped_unsent_part, end_unsent_part
from scrape_do_celery.steps.waiting_parts import (
    warn_missing_key,
    warn_newer_record,
    warn_other_account,
    warn_refused_value,
)
from scrape_do_celery.store import Claim, PartId, PartState, RunState
from scrape_do_celery.store.commands import limits
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MIN
from scrape_do_celery.store.commands.parts import (
    ClaimAnswer,
    ClaimPart,
    NeedsAccount,
    NeedsKey,
    NewerRecord,
    PoisonedPart,
    PoisonPolicy,
    Suspect,
)
from scrape_do_celery.store.encryption import missing_key_error

if TYPE_CHECKING:
    from celery import Celery

log = get_logger(__name__)

#: Seconds until a part is due again whose values this process could not decrypt.
_LOCKED = 30.0
#: The same for a value that is refused each time: the wait grows up to this number of times.
_LONGEST_LOCK = 10
#: Seconds for which a part that has ended its step waits for other parts, so that they share a step message.
_TOGETHER = 0.05

Handler = Callable[[WorkerContext, Claim], Awaitable[StepMessage | None]]


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """The definition of a step: its name, the states that it serves, and the handler of one part."""

    step: routing.Step
    states: Collection[PartState]
    handler: Handler
    #: The life of a lease, if the step needs another one than `lease_seconds`.
    seconds: float | None = None


def run_step(app: Celery, definition: StepDefinition, names: Iterable[str]) -> None:
    """Run a step on each of its parts that is in a state of the step, all at once. Publish the messages that follow."""
    context = WorkerContext.for_app(app)
    part_ids = [PartId.parse(name) for name in names]
    with in_step(definition.step):
        context.run(_run_parts(context, part_ids, definition))


async def _run_parts(context: WorkerContext, part_ids: list[PartId], definition: StepDefinition) -> None:
    """Run the step on all parts. Publish the messages in groups, so that a short part does not wait for a long one."""
    waiting = {asyncio.ensure_future(_run_part(context, part_id, definition)): part_id for part_id in part_ids}
    try:
        while waiting:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(waiting, timeout=_TOGETHER)
            done = [work for work in waiting if work.done()]
            if messages := [message for work in done if (message := _read_outcome(waiting.pop(work), work))]:
                await call_in_caller(context.app_context.publish_all, messages)
    finally:
        for work in waiting:
            work.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _read_outcome(part_id: PartId, work: asyncio.Future[StepMessage | None]) -> StepMessage | None:
    error = work.exception()
    if error is None:
        return work.result()
    if not isinstance(error, Exception):
        raise error
    _log_failure(part_id, error)
    return None


async def _run_part(context: WorkerContext, part_id: PartId, definition: StepDefinition) -> StepMessage | None:
    """Run the step on a part beside others, or on a suspect alone. A part that waits for its turn is not claimed."""
    name, isolation, token = str(part_id), context.isolation, uuid.uuid4().hex
    async with isolation.beside():
        answer = await _claim_part(context, part_id, definition, token)
        if not isinstance(answer, Suspect):
            return await _work_on_part(context, part_id, definition, answer, token)
    with isolation.queued(name) as is_first:
        if not is_first:
            return None
        async with isolation.alone():
            answer = await _claim_part(context, part_id, definition, token, isolated=True)
            return await _work_on_part(context, part_id, definition, answer, token)


async def _claim_part(
    context: WorkerContext, part_id: PartId, definition: StepDefinition, token: str, *, isolated: bool = False
) -> ClaimAnswer:
    store, settings = context.store, context.settings
    return await store.run(
        ClaimPart(
            part_id,
            token,
            seconds=_lease_seconds(context, definition),
            states=definition.states,
            account=settings.account_id,
            auth_grace=settings.auth_grace,
            poison=PoisonPolicy(settings.poison_after, settings.stop_on_failure),
            isolated=isolated,
            outlived=context.isolation.outlived(str(part_id)),
            # Each consumer asks the broker in a rhythm of its own. With an equal wait, the same worker, which cannot
            # serve the part, might get each message.
            redispatch_after=REDISPATCH_MIN * random.uniform(0.6, 1.4),
        )
    )


async def _work_on_part(
    context: WorkerContext, part_id: PartId, definition: StepDefinition, claim: ClaimAnswer, token: str
) -> StepMessage | None:
    if isinstance(claim, PoisonedPart):
        log.error(
            "%s was taken out of work after %d claims without progress (SCRAPE_DO_POISON_AFTER); look above for "
            "`step_failed` or a killed process; `scrape-do ledger` shows what was bought",
            part_id,
            context.settings.poison_after,
            extra=log_fields("part_poisoned", part_id),
        )
        return StepMessage(routing.AGGREGATE_RUN, (part_id.run_id,)) if claim.left == 0 else None
    if isinstance(claim, NeedsAccount):
        warn_other_account(context.once, claim.account, context.settings.account_id)
    if isinstance(claim, NeedsKey):
        warn_missing_key(context.once, str(missing_key_error(claim.key, context.store.key_names)))
    if isinstance(claim, NewerRecord):
        warn_newer_record(claim.version)
    if not isinstance(claim, Claim):
        return None
    context.rate_limiter.counters.step_latency(definition.step, claim.late)
    work = _run_claimed(definition.handler, context, claim)
    with about_run(claim.names):
        try:
            with tracing.work(
                claim.trace, definition.step.span, run_id=part_id.run_id, part=part_id.part, **claim.names
            ):
                return await with_lease(context.store, claim, _lease_seconds(context, definition), work)
        except Exception as error:  # noqa: BLE001 (a step may fail in any way)
            # The step failed, but the process lives. The next claim must not wait until the process works on nothing
            # else.
            context.isolation.note_failure(str(part_id), token)
            _log_failure(part_id, error)
            return None


def _lease_seconds(context: WorkerContext, definition: StepDefinition) -> float:
    return definition.seconds or context.settings.lease_seconds


async def _run_claimed(handler: Handler, context: WorkerContext, claim: Claim) -> StepMessage | None:
    try:
        return await _handle_claim(handler, context, claim)
    except RefusedValueError as error:
        # The right value may come back, and plain values may be allowed later. So the part waits, ever longer, and
        # shows why. The attempt does not count.
        warn_refused_value(context.once, error)
        failures = claim.part.api_failures + 1
        trouble = claim.trouble_fields(WaitKind.VALUE_REFUSED)
        fields = {"api_failures": failures, "api_error": str(error), **trouble}
        await context.release_until(claim, fields, _LOCKED * min(failures, _LONGEST_LOCK))
        return None
    except EncryptionKeyError as error:
        # Other workers may have the key. So the part is released as it is, and the attempt does not count.
        warn_missing_key(context.once, str(error))
        await context.release_until(claim, {}, _LOCKED)
        return None


async def _handle_claim(handler: Handler, context: WorkerContext, claim: Claim) -> StepMessage | None:
    is_stopping.set(claim.stop_reason is not None)
    if claim.breaker == "other_account":
        return await _handle_foreign_part(context, claim)
    if claim.breaker and (refusal := await try_account(context)):
        if claim.breaker == "over":
            return await end_unsent_part(context, claim, RunState.FAILED, refusal)
        await context.release_until(claim, {"held_by": context.settings.account_id}, limits.PROBE)
        return None
    return await handler(context, claim)


async def _handle_foreign_part(context: WorkerContext, claim: Claim) -> StepMessage | None:
    """End a part of another account after a stop request, if no worker with that account's token did so in time."""
    if claim.stop_grace_passed(context.settings.cancel_grace):
        log.warning(
            "%s ends without its job %s: no worker has the token that bought the job; check `scrape-do orphans` with "
            "that token, because the job may still run",
            claim.part_id,
            claim.part.job_id or "(id unknown)",
            extra=log_fields("part_without_account", claim.part_id),
        )
        return await end_stopped_unsent_part(context, claim)
    await context.release_until(claim, {}, 1.0)
    return None


def _log_failure(part_id: PartId, error: Exception) -> None:
    """Log the error that kept the step from a part. The lease expires, and the dispatcher publishes again."""
    if isinstance(error, NoTurnError):
        log.info(
            "%s waited too long for its turn in this process; its step message is published again",
            part_id,
            extra=log_fields("turn_missed", part_id),
        )
    elif isinstance(error, LeaseLostError):
        log.warning("lost the lease of %s; another step continues it", part_id, extra=log_fields("lease_lost", part_id))
    elif isinstance(error, RedisError):
        log.warning(
            "the store did not answer for %s: %s; the step message is published again",
            part_id,
            describe_error(error),
            extra=log_fields("store_away", part_id),
        )
    else:
        clear_locals(error)
        log.error(
            "a step failed on %s; its step message is published again",
            part_id,
            exc_info=error,
            extra=log_fields("step_failed", part_id),
        )
