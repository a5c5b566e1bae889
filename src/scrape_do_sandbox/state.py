"""The data of the sandbox: all accounts, each with its jobs."""

from __future__ import annotations

import random
import uuid
from math import inf
from typing import TYPE_CHECKING

from scrape_do_sandbox.account import CreditLedger, SlotPool
from scrape_do_sandbox.jobs import TERMINAL, Job, Task
from scrape_do_sandbox.listing import JobListing
from scrape_do_sandbox.pages import DEFAULT_PAGE, apply_page_rules, parse_page_options, seed_of
from scrape_do_sandbox.spec import GONE, ApiError, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scrape_do_sandbox.faults import FaultRule
    from scrape_do_sandbox.options import SandboxOptions
    from scrape_do_sandbox.spec import JobSpec
    from scrape_do_sandbox.timers import SandboxClock

_QUEUING, _WAITING, _ROTATING_ONE_IN = 0.1, 0.2, 8


def _shuffle_tasks(job: Job, rule: FaultRule) -> None:
    before = list(job.tasks)
    random.Random(f"{rule.seed}{rule.fired}").shuffle(job.tasks)
    if job.tasks == before:
        job.tasks.reverse()


def _set_writer(job: Job, rule: FaultRule) -> None:
    job.writer = rule.value or job.writer


#: Rules that take effect once, when a job is created.
_DECIDED: dict[str, Callable[[Job, FaultRule], None]] = {
    "job_cancels": lambda job, rule: job.cancel(job.created + rule.seconds),
    "job_urls": _set_writer,
    "job_shuffles": _shuffle_tasks,
}


class Account:
    """All data of one token. Account does no I/O: statuses follow from the clock alone."""

    def __init__(self, options: SandboxOptions, clock: SandboxClock) -> None:
        self._options = options
        self._clock = clock
        self._pool = SlotPool(options)
        self.ledger = CreditLedger(options)
        self.jobs: dict[str, Job] = {}
        self.listing = JobListing(self.jobs, clock)

    def create_job(self, spec: JobSpec, rules: Sequence[FaultRule] = ()) -> Job:
        """Create a job; the rules decide its outcome and that of its tasks.

        Raises:
            ApiError: 401, if no credits are left.
        """
        now = self._clock.now()
        if self.ledger.remaining(now) <= 0:
            raise ApiError(401, "Not enough credits")
        pause = self._options.task_seconds
        job = Job(_make_id(), spec, now, now + self._options.retention, now + _QUEUING * pause, self._options.strict)
        job.tasks = [self._make_task(job, url, position, rules) for position, url in enumerate(self._task_urls(spec))]
        job.unfetched = sum(task.real for task in job.tasks)
        job.update_times()
        for rule in rules:
            apply = _DECIDED.get(rule.action)
            if apply is not None:
                apply(job, rule)
        self.jobs[job.id] = job
        self.listing.forget_views()
        return job

    def _task_urls(self, spec: JobSpec) -> Iterable[str]:
        return dict.fromkeys(spec.targets) if self._options.merge_equal_targets else spec.targets

    def _make_task(self, job: Job, url: str, position: int, rules: Sequence[FaultRule]) -> Task:
        near, seed = is_loopback(url), seed_of(f"{position}:{url}")
        page_options = apply_page_rules(DEFAULT_PAGE if near else parse_page_options(url), url, rules)
        real = near and not page_options.error and page_options.body is None
        spread = 1 + self._options.spread * (2 * (seed % 1000) / 999 - 1)
        length = self._options.task_seconds * spread if page_options.seconds is None else page_options.seconds
        start, due = self._pool.reserve_slot(job.created + _WAITING * length, (1 - _WAITING) * length)
        rotates = seed % _ROTATING_ONE_IN == 0
        task = Task(_make_id(), job, url, start, due, inf if real else due, page_options, rotates, real)
        if not real:
            self.ledger.expect_task(task)
        return task

    def find_job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            ApiError: 400, if the id is not a UUID; 404, if the job is unknown or expired.
        """
        job = self.jobs.get(job_id.lower())
        if job is None:
            _check_uuid("jobID", job_id)
        if job is None or job.expires <= self._clock.now():
            raise ApiError(404, "Job not found")
        return job

    def find_task(self, job_id: str, task_id: str) -> Task:
        """Return a task.

        Raises:
            ApiError: 400, if an id is not a UUID; 404, if the task is unknown or expired; 404 or 410, if its page
                options say that the content is gone.
        """
        found = next((task for task in self.find_job(job_id).tasks if task.id == task_id.lower()), None)
        if found is None:
            _check_uuid("taskID", task_id)
            raise ApiError(404, "Task not found")
        if found.page_options.gone and found.status(self._clock.now()) in TERMINAL:
            raise ApiError(found.page_options.gone, GONE if found.page_options.gone == 410 else "Task not found")  # noqa: PLR2004
        return found

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a job; `cancel_seconds` later its status becomes `canceled`.

        Raises:
            ApiError: 400 or 404, as `job` says; 406, if the job has ended.
        """
        job, now = self.find_job(job_id), self._clock.now()
        if job.status(now) in TERMINAL:
            raise ApiError(406, "Job is already in a terminal state")
        job.cancel(now + self._options.cancel_seconds)
        self._pool.free_slots({task.due for task in job.tasks if task.due > job.canceled_at})
        self.listing.forget_views()
        return job

    def show_figures(self) -> dict[str, object]:
        """Return the numbers of the account, as `GET /me` shows them."""
        now = self._clock.now()
        return {
            "TotalConcurrency": self._options.concurrency,
            "FreeConcurrency": max(0, self._options.concurrency - self._pool.count_busy(now)),
            "ActiveJobs": sum(job.status(now) not in TERMINAL for job in self.jobs.values()),
            "AvaliableCredits": self.ledger.remaining(now),
        }


class SandboxState:
    """All accounts, by the fingerprint of their token."""

    def __init__(self, options: SandboxOptions, clock: SandboxClock) -> None:
        self._options = options
        self._clock = clock
        self._accounts: dict[str, Account] = {}

    def open_account(self, fingerprint: str) -> Account:
        """Return the account of a fingerprint; the first use opens it."""
        if fingerprint not in self._accounts:
            self._accounts[fingerprint] = Account(self._options, self._clock)
        return self._accounts[fingerprint]

    def list_jobs(self) -> Iterator[Job]:
        """List all jobs of all accounts, the oldest first in each account."""
        for account in self._accounts.values():
            yield from account.jobs.values()

    def find_job(self, job_id: str) -> Job | None:
        """Return a job of any account, or None if it is unknown."""
        found = (account.jobs.get(job_id.lower()) for account in self._accounts.values())
        return next(filter(None, found), None)

    def find_targets(self, job_id: str, task_id: str = "") -> tuple[str, ...]:
        """Return the targets of a job, or the URL of one of its tasks; return none if the job is unknown."""
        job = self.find_job(job_id) if job_id else None
        if job is None:
            return ()
        return tuple(task.url for task in job.tasks if task.id == task_id) if task_id else job.spec.targets

    def clear_accounts(self) -> None:
        """Remove all accounts and their jobs."""
        self._accounts.clear()


def _make_id() -> str:
    return str(uuid.uuid4())


def _check_uuid(name: str, text: str) -> None:
    try:
        good = str(uuid.UUID(text)) == text.lower()
    except ValueError:
        good = False
    if not good:
        raise ApiError(400, f"{name} must be a UUID")
