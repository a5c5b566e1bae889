"""Deliver webhooks: one for each task that ends, sent again until the receiver accepts it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrape_do_sandbox.calls import ApiCall
from scrape_do_sandbox.jobs import TERMINAL
from scrape_do_sandbox.response_faults import show_body
from scrape_do_sandbox.spec import is_loopback
from scrape_do_sandbox.views import task_body
from scrape_do_sandbox.webhook_calls import WebhookCaller
from scrape_do_sandbox.webhook_faults import make_call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_sandbox.faults import FaultRule, FaultRules
    from scrape_do_sandbox.jobs import Job, Task
    from scrape_do_sandbox.options import SandboxOptions
    from scrape_do_sandbox.request_log import RequestLog
    from scrape_do_sandbox.state import Account
    from scrape_do_sandbox.timers import SandboxClock, Timers

_GONE = (404, 410)
_ACCEPTED = (200, 201)
#: Seconds between two checks of whether webhooks have been delivered.
_LOOK = 0.01


@dataclass(slots=True)
class WebhookDeliveries:
    """The deliveries of webhooks. Pauses go by the sandbox's clock, which can be advanced."""

    options: SandboxOptions
    clock: SandboxClock
    timers: Timers
    faults: FaultRules
    request_log: RequestLog
    _caller: WebhookCaller = field(default_factory=WebhookCaller)
    _room: asyncio.Semaphore | None = None
    _size: int = 0

    async def deliver_task(self, task: Task, account: Account) -> None:
        """Deliver the webhook of a task that has ended, once."""
        if task.webhook.begun or task.status(self.clock.now()) not in TERMINAL:
            return
        task.webhook.begun = True
        counts = self.request_log.counts
        rules = {rule.action: rule for rule in self.faults.find_firing(_call_of(task), per_delivery=True)}
        copies = 2 if "webhook_duplicate" in rules else 1
        counts["webhooks_due"] += copies
        if "webhook_lose" in rules:
            task.webhook.end_delivery("success", None)
            counts["webhooks_lost"] += copies
            return
        await self._pause(_delay_of(rules))
        for _ in range(copies):
            if is_loopback(task.job.spec.options["WebhookURL"]) and await self._send_until_accepted(task, account):
                task.webhook.end_delivery("success", self.clock.now())
                counts["webhooks_accepted"] += 1
            else:
                task.webhook.end_delivery("failed", None)
                counts["webhooks_given_up"] += 1

    async def wait_for_deliveries(self, job: Job | None, count: int, seconds: float) -> None:
        """Wait until `count` deliveries of a job have ended, for this number of seconds at most."""
        deadline = self.clock.now() + seconds
        while job and sum(task.webhook.status != "pending" for task in job.tasks) < count:
            if self.clock.now() >= deadline:
                return
            await asyncio.sleep(_LOOK)

    async def close(self) -> None:
        """Close all connections."""
        await self._caller.close()

    async def _send_until_accepted(self, task: Task, account: Account) -> bool:
        """Send the webhook until the receiver answers 200 or 201, or the pauses of `webhook_ladder` have passed.

        After a 404 or 410, the webhook is sent once more, `webhook_later` seconds later.
        """
        status = await self._send_webhook(task, account)
        for pause in self.options.webhook_ladder:
            if status in (*_ACCEPTED, *_GONE):
                break
            await self._pause(pause)
            status = await self._send_webhook(task, account)
        if status in _GONE:
            await self._pause(self.options.webhook_later)
            status = await self._send_webhook(task, account)
        return status in _ACCEPTED

    async def _send_webhook(self, task: Task, account: Account) -> int:
        async with self._get_room():
            call, now = _call_of(task), self.clock.now()
            rules = self.faults.find_firing(call, per_delivery=False)
            task.webhook.requested, task.webhook.attempts = now, task.webhook.attempts + 1
            entry = self.request_log.open_entry(call, now)
            self.request_log.counts["webhooks_sent"] += 1
            options = task.job.spec.options
            shown = _choose_task(task, account, now, rules)
            body = show_body(task_body(shown, now, account.ledger), self.options)
            sent = make_call(options["WebhookURL"], body, options.get("WebhookHeaders", {}), rules)
            status = await self._caller.post(sent, self.options.webhook_timeout)
            entry.details = {
                "task_ended": task.ended_at,
                "attempt": task.webhook.attempts,
                "answered_at": self.clock.now(),
            }
            self.request_log.close_entry(entry, status or "no_answer")
            return status

    def _get_room(self) -> asyncio.Semaphore:
        if self._room is None or self._size != self.options.webhook_concurrency:
            self._size = self.options.webhook_concurrency
            self._room = asyncio.Semaphore(self._size)
        return self._room

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            over = asyncio.Event()
            self.timers.call_at(self.clock.now() + seconds, over.set)
            await over.wait()


def _call_of(task: Task) -> ApiCall:
    return ApiCall("POST", "", "webhook", task.job.id, task.id, targets=(task.url,))


def _delay_of(rules: Mapping[Any, FaultRule]) -> float:
    """Return the seconds by which a delivery is late. Random delays change the order of deliveries."""
    late, shuffle = rules.get("webhook_late"), rules.get("webhook_shuffle")
    spread = random.Random(f"{shuffle.seed} {shuffle.fired}").random() * shuffle.seconds if shuffle else 0.0
    return (late.seconds if late else 0.0) + spread


def _choose_task(task: Task, account: Account, now: float, rules: Sequence[FaultRule]) -> Task:
    """Return the task whose body is sent. A rule may replace it by another task that has ended, if there is one."""
    rule = next((rule for rule in rules if rule.action == "webhook_other_task"), None)
    if rule is None:
        return task
    jobs = [task.job] if rule.value is None else [job for job in account.jobs.values() if job is not task.job]
    others = (other for job in reversed(jobs) for other in job.tasks if other is not task)
    return next((other for other in others if other.status(now) in TERMINAL), task)
