"""The side effects of jobs, each at its time: fetches of targets on this machine, and webhooks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from scrape_do_sandbox.calls import ApiCall
from scrape_do_sandbox.jobs import TERMINAL
from scrape_do_sandbox.response_faults import show_body
from scrape_do_sandbox.spec import is_loopback
from scrape_do_sandbox.views import encode_json, task_body

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scrape_do_sandbox.faults import FaultRules
    from scrape_do_sandbox.fetch import PageFetcher
    from scrape_do_sandbox.jobs import Job, Task
    from scrape_do_sandbox.options import SandboxOptions
    from scrape_do_sandbox.request_log import RequestLog
    from scrape_do_sandbox.state import Account
    from scrape_do_sandbox.timers import SandboxClock, Timers

    Action = Callable[[Task, Account], Coroutine[None, None, None]]

_GONE = (404, 410)
_RETRIED = frozenset({0, *range(500, 600)})
_ACCEPTED = range(200, 300)


@dataclass(slots=True)
class JobExecution:
    """The side effects of jobs: fetches of loopback targets, and deliveries of webhooks."""

    options: SandboxOptions
    clock: SandboxClock
    timers: Timers
    fetcher: PageFetcher
    faults: FaultRules
    request_log: RequestLog
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def plan_job(self, job: Job, account: Account) -> None:
        """Set timers for the fetches and webhooks of a new job."""
        hooked = "WebhookURL" in job.spec.options
        for task in job.tasks:
            if task.real:
                self.timers.call_at(task.start, self._make_starter(self._fetch_target, task, account))
            elif hooked:
                self.timers.call_at(task.end, self._make_starter(self._deliver_webhook, task, account))

    def plan_cancel(self, job: Job, account: Account) -> None:
        """Set timers for the webhooks of a job that will be canceled."""
        if "WebhookURL" in job.spec.options:
            for task in job.tasks:
                self.timers.call_at(job.canceled_at, self._make_starter(self._deliver_webhook, task, account))

    def _make_starter(self, action: Action, task: Task, account: Account) -> Callable[[], None]:
        return partial(self._start_action, action, task, account)

    def _start_action(self, action: Action, task: Task, account: Account) -> None:
        running = asyncio.get_running_loop().create_task(action(task, account))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        """Cancel running fetches and deliveries, and wait for their end."""
        for running in tuple(self._running):
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _fetch_target(self, task: Task, account: Account) -> None:
        if task.job.canceled_at <= self.clock.now():
            return
        page = await self.fetcher.fetch_page(task.url, task.job.spec)
        task.finish_fetch(page, self.clock.now())
        account.ledger.expect_task(task)
        if "WebhookURL" in task.job.spec.options:
            self.timers.call_at(task.end, self._make_starter(self._deliver_webhook, task, account))

    async def _deliver_webhook(self, task: Task, account: Account) -> None:
        if task.webhook.begun or task.status(self.clock.now()) not in TERMINAL:
            return
        task.webhook.begun = True
        if not is_loopback(task.job.spec.options["WebhookURL"]):
            task.webhook.status = "failed"
            return
        call = ApiCall("POST", "", "webhook", task.job.id, task.id, targets=(task.url,))
        actions = {rule.action for rule in self.faults.find_firing(call)}
        if "webhook_lose" in actions:
            task.webhook.status = "success"
            self.request_log.counts["webhooks_lost"] += 1
            return
        for _ in range(2 if "webhook_duplicate" in actions else 1):
            delivered = await self._deliver_with_retries(task, account)
            task.webhook.status = "success" if delivered else "failed"

    async def _deliver_with_retries(self, task: Task, account: Account) -> bool:
        """Send the webhook until the receiver accepts or the ladder ends.

        After a 404 or 410, the webhook is sent once more, `webhook_later` seconds later.
        """
        options = self.options
        status = await self._send_webhook(task, account)
        for pause in options.webhook_ladder:
            if status not in _RETRIED:
                break
            await asyncio.sleep(pause)
            status = await self._send_webhook(task, account)
        if status in _GONE:
            await asyncio.sleep(options.webhook_later)
            status = await self._send_webhook(task, account)
        return status in _ACCEPTED

    async def _send_webhook(self, task: Task, account: Account) -> int:
        now, options = self.clock.now(), task.job.spec.options
        task.webhook.requested = now
        body = encode_json(show_body(task_body(task, now, account.ledger), self.options))
        headers = options.get("WebhookHeaders", {})
        status = await self.fetcher.post_webhook(options["WebhookURL"], body, headers, self.options.webhook_timeout)
        self.request_log.counts["webhooks_sent"] += 1
        self.request_log.counts["webhooks_accepted"] += status in _ACCEPTED
        return status
