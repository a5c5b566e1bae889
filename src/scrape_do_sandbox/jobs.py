"""The jobs and tasks of the sandbox. Each status follows from planned times and the clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from scrape_do_sandbox.pages import DEFAULT_PAGE, Page, PageOptions, make_page
from scrape_do_sandbox.prices import price_of
from scrape_do_sandbox.renders import wrap_page

if TYPE_CHECKING:
    from scrape_do_sandbox.spec import JobSpec

TERMINAL = frozenset({"success", "error", "canceled"})
STATUSES = ("queuing", "queued", "pending", "rotating", "success", "error", "canceled")
_CHARGED = frozenset({*range(200, 300), 400, 404, 410})


@dataclass(slots=True)
class WebhookState:
    """The state of the delivery of one task's webhook."""

    status: str = "pending"
    requested: float | None = None
    accepted: float | None = None
    attempts: int = 0
    begun: bool = False

    def end_delivery(self, status: str, accepted: float | None) -> None:
        """Set the status that the API shows, and the time at which the receiver first accepted the webhook."""
        self.status = status
        self.accepted = accepted if self.accepted is None else self.accepted


@dataclass(slots=True, eq=False)
class Task:
    """The task of one target. `due` is the planned end; `end` is infinite until a real fetch returns."""

    id: str
    job: Job
    url: str
    start: float
    due: float
    end: float
    page_options: PageOptions = DEFAULT_PAGE
    rotates: bool = False
    real: bool = False
    fetched: Page | None = None
    reads: int = 0
    remaining: int | None = None
    webhook: WebhookState = field(default_factory=WebhookState)

    def status(self, now: float) -> str:
        """Return the status of the task at `now`."""
        stop = self.job.canceled_at
        if now >= self.end and self.end <= stop:
            return "error" if self.failed else "success"
        if now >= stop:
            return "canceled"
        if now < self.start:
            return "queuing" if now < self.job.queued_at else "queued"
        return "rotating" if self.rotates and self._in_rotation(now) else "pending"

    def _in_rotation(self, now: float) -> bool:
        length = self.due - self.start
        return self.start + 0.5 * length <= now < self.start + 0.8 * length

    @property
    def failed(self) -> bool:
        """Whether the task ends, or ended, in `error`."""
        return self.page_options.error if self.fetched is None else bool(self.fetched.error)

    @property
    def cost(self) -> int:
        """Credits that the finished task costs."""
        code = self.page_options.status if self.fetched is None else self.fetched.status_code
        if self.failed or code not in _CHARGED:
            return 0
        if self.page_options.cost is not None:
            return self.page_options.cost
        spec = self.job.spec
        base = spec.cost_of(self.url)
        return (
            base
            if "Plugin" in spec.options
            else price_of(self.url, base, rendered=spec.options.get("Render") is not None)
        )

    def page(self) -> Page:
        """Return the page that was fetched; a made-up page is made when it is requested."""
        page = self.fetched or make_page(self.url, self.page_options)
        return wrap_page(page, self.url, self.job.spec.options.get("Render"))

    @property
    def ended_at(self) -> float:
        """When the task ends or ended; infinite until a real fetch returns."""
        return min(self.end, self.job.canceled_at)

    def finish_fetch(self, page: Page, now: float) -> None:
        """Store the page of a real fetch, and end the task."""
        self.fetched = page
        self.end = max(self.due, now)
        self.job.unfetched -= 1
        self.job.update_times()


@dataclass(slots=True, eq=False)
class Job:
    """A job and the times at which its status changes."""

    id: str
    spec: JobSpec
    created: float
    expires: float
    queued_at: float
    strict: bool = False
    writer: str = "verbatim"
    tasks: list[Task] = field(default_factory=list)
    started_at: float = inf
    ended_at: float = inf
    canceled_at: float = inf
    unfetched: int = 0
    _outcome: str = ""

    def update_times(self) -> None:
        """Compute the start of the first task and, if the end of each task is known, the end of the last."""
        self.started_at = min(task.start for task in self.tasks)
        self.ended_at = inf if self.unfetched else max(task.end for task in self.tasks)

    def status(self, now: float) -> str:
        """Return the status of the job at `now`. Until the job ends, the cost does not grow with its tasks."""
        if now >= min(self.ended_at, self.canceled_at):
            self._outcome = self._outcome or self._decide_outcome()
            return self._outcome
        if now >= self.started_at:
            return "rotating" if len(self.tasks) == 1 and self.tasks[0].status(now) == "rotating" else "pending"
        return "queued" if now >= self.queued_at else "queuing"

    def _decide_outcome(self) -> str:
        if self.canceled_at < self.ended_at:
            return "canceled"
        failed = sum(task.failed for task in self.tasks)
        return "error" if failed == len(self.tasks) or (failed and self.strict) else "success"

    def cancel(self, moment: float) -> None:
        """Make the job and its unfinished tasks `canceled` at `moment`; an earlier cancellation stays in force."""
        self.canceled_at = min(self.canceled_at, moment)

    @property
    def canceled(self) -> bool:
        """Whether a cancellation was accepted, even if the status does not show it yet."""
        return self.canceled_at < inf

    def ends_in(self, now: float) -> float | None:
        """Return the seconds until the job ends, or None if the end is unknown or past."""
        end = min(self.ended_at, self.canceled_at)
        return end - now if now < end < inf else None

    def shown_start(self, now: float) -> float | None:
        """Return the time at which the job started, or None if it has not started."""
        return self.started_at if self.started_at <= min(now, self.canceled_at) else None

    def shown_end(self, now: float) -> float | None:
        """Return the time at which the job ended, or None if it has not ended."""
        end = min(self.ended_at, self.canceled_at)
        return end if now >= end else None
