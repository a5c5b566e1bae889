"""Select the jobs of the API that a purchase in doubt may have bought, by their targets and their webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scrape_do_celery.config.secrets import signing_keys
from scrape_do_celery.errors import AsyncAPIGoneError, AsyncAPINotFoundError, AsyncAPIUnparsableResponseError
from scrape_do_celery.models import UndetailedTaskResponse
from scrape_do_celery.models.urls import is_web_url
from scrape_do_celery.rules.reconciliation import Candidate, StartOrder, carries, hides_marker, latest_order
from scrape_do_celery.rules.targets import Likeness, PartDigests, TargetSet, named_tasks
from scrape_do_celery.rules.webhook_tokens import PurchaseId, read_purchase
from scrape_do_celery.steps.job_list import names_its_targets
from scrape_do_celery.store.request_inputs import targets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrape_do_celery.models import JobDetails, TaskDetails
    from scrape_do_celery.rules.targets import JobDigests
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim

#: Errors of a call for one job or task after which the other jobs are still read.
_UNREAD = (AsyncAPINotFoundError, AsyncAPIGoneError, AsyncAPIUnparsableResponseError)


class CandidateReader:
    """The reader that selects the candidates of one part from a listing."""

    def __init__(self, context: WorkerContext, claim: Claim, order_of: Callable[[JobDetails], StartOrder]) -> None:
        self._context, self._total, self._order_of = context, claim.part.total, order_of
        request = claim.spec().request
        targets = targets_of(request)
        self.targets, self.digests, self._forms = targets, PartDigests.from_targets(targets), TargetSet(targets)
        #: whether the part uses a plugin; it is not known what the tasks of a plugin show instead of a URL
        self.is_plugin = request.plugin is not None
        #: whether nothing distinguishes the part's job from other jobs, while the API refused the `POST`
        self._is_blind = self.is_plugin and claim.part.refused and not claim.part.marker
        self._marker = claim.part.marker
        # The webhook of an earlier purchase proves less: the receiver takes deliveries of the last one only.
        self._purchase = PurchaseId(claim.part_id.run_id, claim.part_id.part, claim.part.purchases)
        self._keys = signing_keys(context.settings.webhook_keys) if claim.has_webhooks else ()
        #: whether each job that may be the part's was read, so that the listing can prove its absence
        self.complete = True

    async def read_candidates(self, jobs: Iterable[JobDetails]) -> list[tuple[JobDetails, Likeness]]:
        """Select the jobs that have the part's targets. Return each with all its details, and its likeness."""
        if self._is_blind:
            return []
        return [found for job in jobs if (found := await self.read_candidate(job))]

    async def read_candidate(self, job: JobDetails) -> tuple[JobDetails, Likeness] | None:
        """Read a job. Return it with all its details, and its likeness, if it has the part's targets."""
        known = self._context.job_list.digests_of(job)
        if known is not None and not self.is_plugin and self._is_other(known):
            return None
        try:
            whole = await self._context.call(self._context.client.get_job, job.job_id)
        except _UNREAD:
            # The job is too young to be shown, expired, or unreadable. A listing with such a job proves no absence.
            self.complete = False
            return None
        if self.is_plugin:
            return self._with_size(job, whole)
        named = whole if names_its_targets(whole) else await self._with_targets(job, whole)
        if named is None:
            return None
        likeness = self.digests.compare(self._context.job_list.remember(named))
        if likeness is not Likeness.NONE:
            return named, likeness
        if self._forms.has_all(task.url for task in named_tasks(named)):
            self._note_possible(job, whole)
        return None

    def _is_other(self, digests: JobDigests) -> bool:
        return self.digests.compare(digests) is Likeness.NONE and not self._forms.may_have(digests)

    def _note_possible(self, *answers: JobDetails) -> None:
        """Note a job that names only targets of the part, but not each target once.

        The answers may lack tasks of the job, or name repeated attempts. So a listing with such a job proves no
        absence, unless the job began long before the intent.
        """
        if latest_order(*map(self._order_of, answers)) is not StartOrder.BEFORE:
            self.complete = False

    def _with_size(self, job: JobDetails, whole: JobDetails) -> tuple[JobDetails, Likeness] | None:
        tasks = len(whole.task_ids) or len(whole.tasks)
        if tasks == self._total:
            return whole, Likeness.STRICT
        if tasks == 0:
            self.complete = False
        elif tasks < self._total and not (whole.is_terminal and whole.task_ids):
            # An answer without task ids may have a summary that is cut.
            self._note_possible(job, whole)
        return None

    async def _with_targets(self, job: JobDetails, whole: JobDetails) -> JobDetails | None:
        """Complete a job that does not name its targets, from its tasks; None if it is not shown to be the part's."""
        tasks = {task.task_id: task for task in named_tasks(whole)}
        if not self._forms.has_all(task.url for task in tasks.values()):
            return None
        missing = [task_id for task_id in whole.task_ids if task_id not in tasks]
        needed = max(0, self._total - len(tasks))
        for task_id in missing[:needed]:
            task = await self._task(whole.job_id, task_id)
            if task is None:
                # The task does not show its target, so the job may be the part's.
                self.complete = False
                return None
            if not self._forms.has_all([task.url]):
                return None
            tasks[task_id] = UndetailedTaskResponse(task_id=task_id, url=task.url, status=task.status)
        if not tasks:
            # A job that names no task may be the part's, or any other's.
            self.complete = False
            return None
        # Some servers name more ids than they have tasks. So a surplus id counts only if a task answers to it.
        surplus = await self._task(whole.job_id, missing[needed]) if missing[needed:] else None
        if surplus is not None:
            if self._forms.has_all([surplus.url]):
                self._note_possible(job, whole)
            return None
        return whole.model_copy(update={"tasks": list(tasks.values()), "task_ids": list(tasks)})

    async def _task(self, job_id: str, task_id: str) -> TaskDetails | None:
        """Return a task that shows its target; None if this id has no such task."""
        try:
            task = await self._context.call(self._context.client.get_task, job_id, task_id)
        except _UNREAD:
            return None
        return task if is_web_url(task.url) else None

    async def make_candidate(self, job: JobDetails, likeness: Likeness, order: StartOrder) -> Candidate:
        """Return the candidate of a job with the part's targets, with the proofs that its first task shows."""
        marked, hooked = await self._read_proofs(job, order) if self._marker or self._keys else (False, False)
        return Candidate(job.job_id, order, marked, likeness is Likeness.STRICT, hooked)

    async def _read_proofs(self, job: JobDetails, order: StartOrder) -> tuple[bool, bool]:
        """Return whether the first task of the job shows the part's marker, and the webhook of the purchase."""
        for task_id in job.named_task_ids[:1]:
            try:
                task = await self._context.call(self._context.client.get_task, job.job_id, task_id)
            except _UNREAD:
                break
            if self._marker and hides_marker(task.webhook_url) and order is not StartOrder.BEFORE:
                # A server may show the webhook late, masked, or never. So the job may still be the part's.
                self.complete = False
            is_marked = bool(self._marker) and carries(task.webhook_url, self._marker)
            return is_marked, self._is_own_webhook(task.webhook_url)
        if self._marker:
            # A job whose tasks cannot be read yet does not show whether it has the marker.
            self.complete = False
        return False, False

    def _is_own_webhook(self, url: str | None) -> bool:
        """Return whether a URL is the webhook of the part's last purchase. Only holders of the keys can make it."""
        return url is not None and read_purchase(_path_of(url), self._keys) == self._purchase


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""
