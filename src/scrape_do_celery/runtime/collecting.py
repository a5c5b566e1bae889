"""Fetching the tasks of jobs: each is stored the moment it arrives, and never fetched twice."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from scrape_do_celery import routing
from scrape_do_celery.client import gone
from scrape_do_celery.errors import (
    AsyncAPIGoneError,
    AsyncAPINotFoundError,
    AsyncAPIRateLimitError,
    AsyncAPIResponseError,
    JobLostError,
    ScrapeDoError,
)
from scrape_do_celery.models import JobDetails, JobStatus, TaskDetails, UndetailedTaskResponse
from scrape_do_celery.polling import NOT_FOUND_GRACE, TASK_LOOKS, wait_for_last
from scrape_do_celery.runs import Bell
from scrape_do_celery.runtime.durability import FETCH_BELOW, NO_ROOM, is_full
from scrape_do_celery.runtime.endings import NO_TROUBLE, ended_on_wish, ended_with, seen
from scrape_do_celery.runtime.leases import LeaseLostError
from scrape_do_celery.runtime.loop import together
from scrape_do_celery.runtime.troubles import is_auth, is_refusal
from scrape_do_celery.store import Claim, PartState, RunState, ops
from scrape_do_celery.store.codec import pack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_celery.runtime.process import Runtime

log = logging.getLogger(__name__)

#: Refusals that are about the account or the moment, never about one task.
_ABOUT_ALL = frozenset({401, 403, 408, 425})
#: How a task can end that is not stopped.
_ENDED = frozenset({JobStatus.SUCCESS, JobStatus.ERROR})
#: Looks at tasks that were under way when their job was stopped.
_STOPPED_LOOKS = 2
#: Contents in memory at a time while the names of a job's tasks are completed from them.
_CHUNK = 50
#: Seconds after which a part that still has pages to be fetched goes to the end of the queue, where all goes well:
#: others get their turn.
_SLICE = 2.0
#: Seconds that the bell of the next turn has before the ticker rings another: in a backlog it waits for long, and each
#: turn that is rung twice would go on as two.
_NEXT_TURN = 120.0


@dataclass
class _Pass:
    """What one pass over the missing tasks met."""

    left: int = 0
    #: tasks that were not ready, or not there
    unfinished: int = 0
    #: tasks of which nothing was learned
    unasked: int = 0
    full: bool = False
    #: the time was over before each task had been asked for
    cut: bool = False
    trouble: ScrapeDoError | None = None
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    @property
    def is_look(self) -> bool:
        """Whether each task that is still missing was looked at: only such passes count before one is given up."""
        return self.unfinished > 0 and not self.unasked

    def is_over(self) -> bool:
        """Whether the rest is left to a later one. Not once something went wrong: such a pass is to be a whole look."""
        if not (self.unfinished or self.unasked or self.trouble):
            self.cut = self.cut or asyncio.get_running_loop().time() - self.began > _SLICE
        return self.cut


async def collect(runtime: Runtime, claim: Claim, job: JobDetails) -> Bell | None:
    """Turns to fetching, and begins: the job is as terminal as it will be."""
    job = positioned(claim, job)
    ids = job.task_ids
    if not ids and claim.part.total:
        run_id = claim.member.run_id
        lost = JobLostError(f"run {run_id}: job {job.job_id} ended and names none of its tasks", run_id)
        return await runtime.settle(claim, RunState.LOST, lost)
    fields = {"state": PartState.COLLECTING, "tasks": pack(ids), **NO_TROUBLE, **seen(job)}
    if await runtime.write(ops.update(runtime.store.keys, claim, fields, job=job)) != "ok":
        raise LeaseLostError(str(claim.member))
    part = replace(claim.part, state=PartState.COLLECTING, task_ids=tuple(ids))
    return await _collect(runtime, replace(claim, part=part), job)


def positioned(claim: Claim, job: JobDetails) -> JobDetails:
    """The job with the ids of its tasks in the order that their positions in the store have.

    Where tasks may have been stored before, that is the order that was known then: an answer may shuffle them.
    """
    known = claim.part.task_ids
    ids = job.task_ids or list(known) or [task.task_id for task in job.tasks]
    if claim.early and known:
        ids = list(dict.fromkeys([*known, *ids]))
    return job.model_copy(update={"task_ids": ids})


async def fetch(runtime: Runtime, claim: Claim) -> Bell | None:
    """Every missing task of a part that collects, stored; the part ends when none is missing."""
    job = await runtime.store.run(ops.job(runtime.store.keys, claim.member))
    if job is None:
        raise LookupError(f"{claim.member} collects without a job in its record")
    return await _collect(runtime, claim, job)


async def _collect(runtime: Runtime, claim: Claim, job: JobDetails) -> Bell | None:
    looks = claim.part.looks
    stored = await runtime.store.run(ops.fetched(runtime.store.keys, claim.member))
    found = await _pass(runtime, claim, job, sorted(wanted(job, looks) - stored))
    if not found.left:
        return await ended_with(runtime, claim, await _named(runtime, claim, job))
    # What a run that was told to end has paid for is still collected, in as much time again as its job had to stop.
    # One that only made room for others has its next turn.
    if not found.cut and claim.out_of_grace(2 * runtime.settings.cancel_grace):
        return await ended_on_wish(runtime, claim, await _named(runtime, claim, job))
    looks += found.is_look
    if found.full:
        await runtime.later(claim, {"looks": looks}, NO_ROOM)
        return None
    if found.trouble is not None:
        return await runtime.after_trouble(claim, found.trouble, {"looks": looks})
    if found.cut:
        await runtime.later(claim, NO_TROUBLE, 0.0, ring=_NEXT_TURN)
        return Bell(routing.FETCH_TASKS, (str(claim.member),))
    wait = wait_for_last(looks, TASK_LOOKS, runtime.interval(claim.part.looks))
    await runtime.later(claim, {"looks": looks, **NO_TROUBLE}, wait)
    return None


async def fetch_early(runtime: Runtime, claim: Claim, job: JobDetails) -> None:
    """Tasks that have ended although their job goes on, stored. What goes wrong is left to the next look."""
    ended = {task.task_id for task in job.tasks if task.status in _ENDED}
    if not ended:
        return
    stored = await runtime.store.run(ops.fetched(runtime.store.keys, claim.member))
    ready = [(at, i) for at, i in enumerate(claim.part.task_ids) if i in ended and at not in stored]
    until = asyncio.get_running_loop().time() + _SLICE
    troubles: list[ScrapeDoError] = []
    full: list[int] = []

    async def one(position: int, task_id: str) -> None:
        # A large page holds its slot until it is stored.
        async with runtime.early, runtime.page_memory.page():
            over = troubles or full or asyncio.get_running_loop().time() > until
            if over or not await runtime.health.has_room(FETCH_BELOW):
                return
            try:
                task = await runtime.get_task(job.job_id, task_id)
            except ScrapeDoError as error:
                if is_auth(error) or isinstance(error, AsyncAPIRateLimitError):
                    troubles.append(error)
                return
            if task.status in _ENDED and await _stored(runtime, claim, position, task) is None:
                full.append(position)

    await together(one(position, task_id) for position, task_id in ready)
    for error in troubles[:1]:
        await runtime.tell_all(error)


def wanted(job: JobDetails, looks: int = 0) -> set[int]:
    """Positions of the tasks that are worth a request: all; of a job that was stopped, those that were not stopped.

    What was under way when it was stopped may still have been paid: a summary is a snapshot, so it is looked at.
    """
    everything = set(range(len(job.task_ids)))
    if not _was_stopped(job) or not job.tasks:
        return everything
    status = {task.task_id: task.status for task in job.tasks}
    if looks >= _STOPPED_LOOKS:
        return {position for position in everything if status.get(job.task_ids[position]) == JobStatus.SUCCESS}
    stopped = (JobStatus.ERROR, JobStatus.CANCELED)
    return {position for position in everything if status.get(job.task_ids[position]) not in stopped}


def _was_stopped(job: JobDetails) -> bool:
    return job.status not in (JobStatus.SUCCESS, JobStatus.ERROR)


async def _pass(runtime: Runtime, claim: Claim, job: JobDetails, positions: Iterable[int]) -> _Pass:
    found = _Pass()
    room = asyncio.Semaphore(runtime.settings.fetch_concurrency)

    async def one(position: int) -> None:
        # A large page holds its slot until it is stored.
        async with room, runtime.page_memory.page():
            # What is to be written down as gone takes no room.
            found.full = found.full or not (claim.is_forgotten() or await runtime.health.has_room(FETCH_BELOW))
            # A refusal for all is met once, not once a task.
            if found.full or isinstance(found.trouble, AsyncAPIRateLimitError):
                found.unasked += 1
                found.left += 1
            elif found.is_over() or not await _fetch_one(runtime, claim, job, position, found):
                found.left += 1

    await together(one(position) for position in positions)
    return found


async def _fetch_one(runtime: Runtime, claim: Claim, job: JobDetails, position: int, found: _Pass) -> bool:
    """Whether nothing more is to be had of the task: mostly, because it is stored now."""
    task_id, last_look = job.task_ids[position], claim.part.looks + 1 >= TASK_LOOKS
    try:
        task = await runtime.get_task(job.job_id, task_id)
    except ScrapeDoError as error:
        # What the API has forgotten is gone, whatever it answers: a run must not wait for it for ever.
        fate = TaskFate.GONE if claim.is_forgotten() else task_fate(error, young=_young(claim))
        found.unfinished += fate is TaskFate.LOOK_AGAIN
        found.unasked += fate in {TaskFate.TROUBLE, TaskFate.YOUNG}
        if fate is TaskFate.TROUBLE:
            found.trouble = found.trouble or error
        if fate is not TaskFate.GONE and not (fate is TaskFate.LOOK_AGAIN and last_look):
            return False
        task = gone(job, task_id, str(error))
    if not task.is_terminal:
        found.unfinished += 1
        if not last_look:
            return False
        task = _given_up(task)
    if _was_stopped(job) and task.status == JobStatus.CANCELED:
        return True
    stored = await _stored(runtime, claim, position, task)
    if stored is None:
        # Nothing was learned of this one, and the next pass comes too soon to count as a look at any other.
        found.full = True
        found.unasked += 1
    return bool(stored)


async def _stored(runtime: Runtime, claim: Claim, position: int, task: TaskDetails) -> bool | None:
    """Whether the task is stored now; None where there is no room for it."""
    try:
        op = ops.put(runtime.store.keys, claim.member, position, task)
        stored = await runtime.store.run(op)
    except ResponseError as error:
        if not is_full(error):
            raise
        # A page may need more than what is left, and not every server tells how much that is.
        runtime.health.was_full()
        return None
    if stored > 0:
        runtime.budget.tally.page(ops.size(op), until=claim.now + runtime.settings.result_ttl)
    return stored >= 0


class TaskFate(StrEnum):
    """What an error says about the task that was asked for."""

    GONE = "gone"  #: paid, and no longer to be had
    LOOK_AGAIN = "look_again"  #: it may come yet; believed after `TASK_LOOKS` looks
    YOUNG = "young"  #: the API may not have caught up with its own answer; not counted
    TROUBLE = "trouble"  #: nothing about this task


def task_fate(error: ScrapeDoError, *, young: bool) -> TaskFate:
    """The fate of a task, told by the error of its fetch; `young` is a job whose 404 means nothing yet."""
    if isinstance(error, AsyncAPIGoneError):
        return TaskFate.GONE
    if isinstance(error, AsyncAPINotFoundError):
        return TaskFate.YOUNG if young else TaskFate.LOOK_AGAIN
    about_all = isinstance(error, AsyncAPIResponseError) and error.status_code in _ABOUT_ALL
    return TaskFate.LOOK_AGAIN if is_refusal(error) and not about_all else TaskFate.TROUBLE


def _young(claim: Claim) -> bool:
    return claim.now - (claim.part.since or 0.0) < NOT_FOUND_GRACE


def _given_up(task: TaskDetails) -> TaskDetails:
    reason = f"still {task.status} at {TASK_LOOKS} looks after its job had ended"
    return task.model_copy(update={"status": JobStatus.ERROR, "gone": True, "error_message": reason})


async def _named(runtime: Runtime, claim: Claim, job: JobDetails) -> JobDetails:
    """The job with a summary of each task: some answers leave them out, and input order is told by their URLs."""
    if len(job.tasks) >= len(job.task_ids):
        return job
    store, names = runtime.store, {task.task_id: task for task in job.tasks}
    for start in range(0, len(job.task_ids), _CHUNK):
        positions = range(start, min(start + _CHUNK, len(job.task_ids)))
        for task in await store.run(ops.contents(store.keys, claim.member, positions)):
            if task is not None:
                names[task.task_id] = UndetailedTaskResponse(task_id=task.task_id, url=task.url, status=task.status)
    job = job.model_copy(update={"tasks": [names[i] for i in job.task_ids if i in names]})
    await store.run(ops.update(store.keys, claim, {}, job=job))
    return job
