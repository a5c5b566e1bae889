"""The lab's sender of webhooks, and the receiver of a run: the service of the package, without a socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scrape_do_celery.webhooks.core import Answer
from scrape_do_celery.webhooks.service import WebhookService
from tests.wire.deliveries import list_chunks, list_headers, make_delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.runs import AppContext
    from tests.wire.messages import MutableResponse
    from tests.wire.server import Account, Job

#: Statuses by which a receiver accepts a delivery. Any other, or none, makes the sender repeat the delivery.
_ACCEPTED = (200, 201)
#: Virtual seconds between two calls for one delivery, and the calls at most.
_PAUSE, _CALLS = 120.0, 6
#: The settings of a run with webhooks. Nothing listens there: the lab hands deliveries to the receiver itself.
SETTINGS = {"webhook_base_url": "http://127.0.0.1:9/hooks", "webhook_keys": "0123456789abcdef" * 2}


@dataclass
class _Delivery:
    """The delivery of a task: when it is due, and how often it was sent."""

    due: float
    calls: int = 0


class WebhookSender:
    """The sender of all webhooks of an account. A task's first delivery is due when the task ends."""

    def __init__(self, account: Account, receive: Callable[[str, MutableResponse], int]) -> None:
        self._account, self._receive = account, receive
        self._deliveries: dict[tuple[str, str], _Delivery] = {}

    def next_due(self) -> float:
        """Return the time of the next delivery; infinite for none."""
        self._plan_new()
        return min((one.due for one in self._deliveries.values()), default=float("inf"))

    def send_due(self) -> bool:
        """Send all deliveries that are due. Return whether there was any."""
        self._plan_new()
        due = [key for key, one in self._deliveries.items() if one.due <= self._account.now()]
        for job_id, task_id in due:
            self._send(self._account.jobs[job_id], task_id)
        return bool(due)

    def _plan_new(self) -> None:
        for job in self._account.jobs.values():
            for task_id in job.task_ids if job.webhook_url else ():
                due = min(job.task_ends(task_id), float("inf") if job.stopped is None else job.stopped)
                self._deliveries.setdefault((job.job_id, task_id), _Delivery(due))

    def _send(self, job: Job, task_id: str) -> None:
        task = self._account.show_task(job, task_id)
        delivery = make_delivery(job.job_id, task_id, task, job.webhook_headers)
        self._account.touched += bool(self._account.mutate(delivery))
        one = self._deliveries[job.job_id, task_id]
        # The sender holds a lost delivery for delivered.
        statuses = [_ACCEPTED[0]] if delivery.hang else []
        statuses += [self._receive(job.webhook_url, delivery) for _ in range(0 if delivery.hang else delivery.copies)]
        one.calls += 1
        is_over = statuses[-1] in _ACCEPTED or one.calls >= _CALLS
        one.due = float("inf") if is_over else self._account.now() + _PAUSE


class WebhookReceiver:
    """The receiver of a run. Each delivery takes the way that a face gives it."""

    def __init__(self, app_context: AppContext, *, is_calibrated: bool) -> None:
        self._service, self._store = WebhookService(app_context), app_context.store
        self._is_calibrated = is_calibrated

    def receive(self, url: str, delivery: MutableResponse) -> int:
        """Return the status with which a delivery is answered; 0 if its connection broke before."""
        if self._is_calibrated:
            self._end_calibration()
        judged = self._service.judge_call("POST", urlsplit(url).path, list_headers(delivery))
        if isinstance(judged, Answer):
            return judged.status
        for chunk in list_chunks(delivery):
            if judged.wants_more:
                judged.take_chunk(chunk)
        status = self._service.take_delivery(judged.finish()).status
        return status if delivery.cut is None else 0

    def _end_calibration(self) -> None:
        """Let the first pages of the account count as compared, so that no later page is fetched again."""
        keys, client = self._store.keys, self._store.client
        for account in client.smembers(keys.accounts):
            client.hsetnx(keys.webhook_trust(account.decode()), "taken", 1_000_001)
