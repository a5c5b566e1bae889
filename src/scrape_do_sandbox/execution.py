"""The side effects of jobs, each at its time: fetches of targets on this machine, and webhooks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scrape_do_sandbox.fetch import PageFetcher
    from scrape_do_sandbox.jobs import Job, Task
    from scrape_do_sandbox.state import Account
    from scrape_do_sandbox.timers import SandboxClock, Timers
    from scrape_do_sandbox.webhooks import WebhookDeliveries

    Action = Callable[[Task, Account], Coroutine[None, None, None]]


@dataclass(slots=True)
class JobExecution:
    """The side effects of jobs: fetches of loopback targets, and deliveries of webhooks."""

    clock: SandboxClock
    timers: Timers
    fetcher: PageFetcher
    webhooks: WebhookDeliveries
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def plan_job(self, job: Job, account: Account) -> None:
        """Set timers for the fetches and webhooks of a new job."""
        hooked = "WebhookURL" in job.spec.options
        for task in job.tasks:
            if task.real:
                self.timers.call_at(task.start, self._make_starter(self._fetch_target, task, account))
            elif hooked:
                self.timers.call_at(task.end, self._make_starter(self.webhooks.deliver_task, task, account))

    def plan_cancel(self, job: Job, account: Account) -> None:
        """Set timers for the webhooks of a job that will be canceled."""
        if "WebhookURL" in job.spec.options:
            for task in job.tasks:
                self.timers.call_at(job.canceled_at, self._make_starter(self.webhooks.deliver_task, task, account))

    def _make_starter(self, action: Action, task: Task, account: Account) -> Callable[[], None]:
        return partial(self._start_action, action, task, account)

    def _start_action(self, action: Action, task: Task, account: Account) -> None:
        running = asyncio.get_running_loop().create_task(action(task, account))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    def drop_running(self) -> None:
        """Cancel running fetches and deliveries."""
        for running in tuple(self._running):
            running.cancel()

    async def stop(self) -> None:
        """Cancel running fetches and deliveries, and wait for their end."""
        self.drop_running()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _fetch_target(self, task: Task, account: Account) -> None:
        if task.job.canceled_at <= self.clock.now():
            return
        page = await self.fetcher.fetch_page(task.url, task.job.spec)
        task.finish_fetch(page, self.clock.now())
        account.ledger.expect_task(task)
        if "WebhookURL" in task.job.spec.options:
            self.timers.call_at(task.end, self._make_starter(self.webhooks.deliver_task, task, account))
