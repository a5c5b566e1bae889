"""Serve the deliveries of a part whose job runs: fetch the tasks that they demand, and plan the next step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scrape_do_celery import routing
from scrape_do_celery.models import JobStatus
from scrape_do_celery.models.ids import same_id
from scrape_do_celery.rules.deliveries import map_positions
from scrape_do_celery.rules.ids import make_created_job
from scrape_do_celery.rules.polling import DeliveryFacts, count_waits, safety_delay
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.early_fetch import ENDED, EarlyPass
from scrape_do_celery.steps.store_health import FULL_STORE_DELAY
from scrape_do_celery.steps.webhook_trust import read_unproven
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import ReadStoredPositions
from scrape_do_celery.store.commands.deliveries import DeliveryNote, DropDeliveries
from scrape_do_celery.store.commands.parts import UpdateResult

if TYPE_CHECKING:
    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim
    from scrape_do_celery.store.command import Value


class DeliveryRound:
    """The work of one step on the deliveries of its part.

    A task that a delivery has named, and that has not ended by the API's answer, keeps its hint. The task is not asked
    for again before the job shows its end: otherwise each forged hint would repeat all earlier ones.
    """

    def __init__(self, context: WorkerContext, claim: Claim) -> None:
        self._context, self._claim = context, claim
        self._facts = DeliveryFacts(claim.is_hinted, claim.wants_job)
        #: positions of tasks that must be fetched; among them: of delivered pages to compare, of tasks that were asked
        #: for and have not ended
        self._demanded: frozenset[int] = frozenset()
        self._checks: frozenset[int] = frozenset()
        self._asked: set[int] = set(claim.part.unended)
        self._served_notes: list[DeliveryNote] = []
        self._cut = self._is_full = False

    async def serve(self) -> bool:
        """Fetch the tasks of new deliveries, until no delivery is new. Return whether the job must be polled too."""
        job = make_created_job(self._claim.part.job_id or "", self._claim.part.task_ids)
        work = EarlyPass(self._context, self._claim, job)
        await self._read_demands()
        while not work.is_over and (new := self._demanded - self._asked):
            await self._fetch(work, new)
        self._cut = bool(self._demanded - self._asked)
        return self._facts.must_poll

    async def fetch_ended(self, claim: Claim, job: JobDetails) -> None:
        """Fetch the demanded tasks that have ended by the answer for the job, or that it says nothing about.

        `claim` and `job` have the positions of all tasks that the answer names.
        """
        if claim is not self._claim:
            self._claim = claim
            await self._read_demands()
        status = {task.task_id: task.status for task in job.tasks}
        ready = {at for at in self._demanded if status.get(job.task_ids[at], JobStatus.SUCCESS) in ENDED}
        await self._fetch(EarlyPass(self._context, claim, job), ready)

    async def release(
        self, fields: dict[str, Value], job: JobDetails | None = None, *, is_near_end: bool = False
    ) -> StepMessage | None:
        """Release the part until its next step. With `is_near_end`, the job is polled after an ordinary interval."""
        context, claim, part = self._context, self._claim, self._claim.part
        facts = replace(self._facts, is_waiting=self._facts.is_waiting or is_near_end)
        polls, safety_polls = count_waits(facts, part.polls, part.safety_polls)
        unended = sorted(self._demanded & self._asked)
        fields = {**fields, "polls": polls, "safety": safety_polls, "unended": pack(unended) if unended else ""}
        if self._served_notes:
            await context.store.run(DropDeliveries(claim.part_id, notes=self._served_notes))
        after = context.interval(part.polls)
        if self._cut:
            after = FULL_STORE_DELAY if self._is_full else 0.0
        elif not facts.polls_soon:
            after = safety_delay(safety_polls, context.settings.webhook_poll_max)
        # After a cut, the next step goes on as if the hints were new.
        hints_seen = None if self._cut else part.hints
        result = await context.release_until(claim, fields, after, job, hints_seen=hints_seen)
        if result is UpdateResult.HINTED or after == 0.0:
            return StepMessage(routing.POLL_JOBS, (str(claim.part_id),))
        return None

    async def _fetch(self, work: EarlyPass, positions: frozenset[int] | set[int]) -> None:
        is_repeated = positions <= self._asked
        await work.fetch(sorted(positions), checks=self._checks)
        # If repeated requests brought nothing, the next ones wait for the next poll of the job.
        if not is_repeated or work.has_more or work.is_full:
            # If the API refuses all requests, the rest waits for the next poll too, however short its pause is.
            cut = set[int]() if work.is_refused else work.cut
            self._asked = (self._asked | positions) - cut
            self._cut, self._is_full = self._cut or bool(cut), self._is_full or work.is_full
        await self._read_demands()

    async def _read_demands(self) -> None:
        """Read which tasks must be fetched. A note of a task of the part's job is a hint."""
        store, part = self._context.store, self._claim.part
        found = await read_unproven(self._context, self._claim)
        stored = await store.run(ReadStoredPositions(self._claim.part_id))
        positions = map_positions(part.task_ids)
        own = {note: positions.get(note.task_id.lower()) for note in found.notes if self._is_own(note)}
        noted = {at for at in own.values() if at is not None} - stored
        known = range(len(part.task_ids))
        self._checks = frozenset(at for at in found.checks if at in known)
        self._demanded = frozenset(at for at in found.hints if at in known) | self._checks | noted
        self._served_notes = [note for note in found.notes if own.get(note) not in noted]
        self._facts = replace(
            self._facts,
            wants_job=self._facts.wants_job or None in own.values(),
            has_all=bool(known) and stored >= set(known),
            is_waiting=bool(self._demanded),
        )

    def _is_own(self, note: DeliveryNote) -> bool:
        return same_id(note.job_id, self._claim.part.job_id or "")
