"""Carry out what a delivery asks for: one command to the store, and at most one step message."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from traceback import extract_tb
from typing import TYPE_CHECKING, Final

from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.models.ids import same_id
from scrape_do_celery.rules.polling import safety_delay
from scrape_do_celery.rules.webhook_tokens import is_webhook_path
from scrape_do_celery.runs import AppContext
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.commands.deliveries import DeliveryResult, TakeDelivery
from scrape_do_celery.store.deadlines import limited_time
from scrape_do_celery.webhooks.core import ACCEPTED, BUSY, FORBIDDEN, Answer, Receiver, largest_body
from scrape_do_celery.webhooks.lookups import StoreMemory, TargetCache

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery import Celery

    from scrape_do_celery.store.commands.deliveries import DeliveryTarget, TakenDelivery
    from scrape_do_celery.webhooks.core import DeliveryIntake, WebhookDelivery

log = get_logger(__name__)

#: Seconds within which the store must take a delivery. Scrape.do sends the delivery again, so a long wait is no use.
_STORE_TIME: Final = 3.0
#: Seconds for which deliveries are put off at once after the store has failed. Otherwise, they would queue for the
#: threads that wait for a store that hangs.
_AWAY_FOR: Final = 1.0
#: Deliveries that an async face hands to threads at the same time. A store that hangs blocks no more threads.
_THREADS: Final = 8
#: Bodies of the largest size that an async face holds at the same time. Further bodies are dropped.
_BODIES: Final = 8
#: Results of a delivery that may be about another job than the part's own.
_UNTAKEN: Final = frozenset({DeliveryResult.OTHER, DeliveryResult.ENDED})
#: Results of a delivery that must be sent again.
_UNREAD: Final = frozenset({DeliveryResult.STALE, DeliveryResult.NEWER})
_ATTRIBUTE: Final = "scrape_do_webhook_service"


class LogPause:
    """The pause between two log lines of one kind. Threads may share it."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until, self._lock = seconds, 0.0, threading.Lock()

    def begin(self) -> bool:
        """Begin a pause, and return True. Return False during a pause."""
        with self._lock:
            now = time.monotonic()
            is_over = now >= self._until
            if is_over:
                self._until = now + self._seconds
            return is_over


#: An outage meets each call.
_put_off_pause = LogPause(10.0)
#: Anybody may send calls that are refused.
_refused_pause = LogPause(60.0)
#: Each task of a job has a delivery.
_found_pause = LogPause(10.0)


class BodyRoom:
    """The memory for the bodies of all calls that are in progress. Threads may share it."""

    def __init__(self, size: int) -> None:
        self._left, self._lock = size, threading.Lock()

    def take(self, size: int) -> bool:
        """Take this number of bytes; give back a negative one. Return whether there was room."""
        with self._lock:
            self._left -= size
            return self._left >= 0


class WebhookService:
    """The writer of deliveries in one process. Threads may share it."""

    def __init__(self, app_context: AppContext) -> None:
        settings = app_context.settings
        self.app_context = app_context
        self._receiver = Receiver.from_settings(settings)
        self._targets = TargetCache(app_context.store)
        self._memory = StoreMemory(app_context.store)
        self._time = min(_STORE_TIME, settings.store_timeout)
        self._away_until = 0.0
        self._safety_after = safety_delay(0, settings.webhook_poll_max)
        #: the room of async faces
        self.room = BodyRoom(_BODIES * largest_body(settings))

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """The threads in which async faces do what blocks."""
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="scrape-do-webhook")

    def judge_call(self, method: str, path: str, headers: Iterable[tuple[str, str]]) -> Answer | DeliveryIntake:
        """Judge a call by its head, as `Receiver.judge_call` does. Read nothing from the store."""
        judged = self._receiver.judge_call(method, path, headers)
        # Load balancers and strangers ask for other paths all the time.
        if judged is FORBIDDEN and is_webhook_path(path) and _refused_pause.begin():
            log.warning(
                "a call of a webhook is answered with 403, because its URL was made with no key of this receiver: if "
                "Scrape.do sent the call, set SCRAPE_DO_WEBHOOK_KEYS to the keys of the workers",
                extra=log_fields("webhook_refused"),
            )
        return judged

    def end_call(self, intake: DeliveryIntake) -> Answer:
        """Take the delivery whose body was read. Return the answer for its sender. Raise nothing."""
        try:
            return self.take_delivery(intake.finish())
        except Exception as error:  # noqa: BLE001 (each other status than 503 may end the webhook)
            return put_off(error)

    def take_delivery(self, delivery: WebhookDelivery) -> Answer:
        """Write a delivery to the store, and publish the step that it demands.

        Raises:
            StoreUnavailableError: the store does not answer, or refuses the write.
        """
        if time.monotonic() < self._away_until:
            return BUSY
        try:
            return self._take_now(delivery, PartId(delivery.purchase.run_id, delivery.purchase.part))
        except StoreUnavailableError:
            self._away_until = time.monotonic() + _AWAY_FOR
            raise

    def _take_now(self, delivery: WebhookDelivery, part_id: PartId) -> Answer:
        with limited_time(self._time):
            if self._memory.is_full():
                _tell("the store is nearly full; raise maxmemory, or wait for pages to expire")
                return BUSY
            if delivery.reason is not None:
                text = "%s: a delivery is only a hint: %s"
                log.debug(text, part_id, delivery.reason, extra=log_fields("webhook_hint", part_id))
            target = self._targets.find(part_id) or self._targets.read(part_id)
            taken = self._take(delivery, part_id, target)
            if taken.result is DeliveryResult.STALE:
                target = self._targets.read(part_id)
                taken = self._take(delivery, part_id, target)
        if taken.result in _UNTAKEN and target and _proves_other_job(delivery, target) and _found_pause.begin():
            log.warning(
                "%s: a webhook with the right header named job %s, %s; `scrape-do orphans` finds such jobs",
                part_id,
                delivery.job_id,
                "which is not the job of the part: perhaps the part was bought twice"
                if target.job_id
                else "and the part has ended without a job: its targets were bought all the same",
                extra=log_fields("purchase_found_late", part_id),
            )
        if taken.step:
            # A broker that is away makes no delivery fail: a dispatcher publishes the step later.
            self.app_context.publish(taken.step, [part_id])
        if taken.result is DeliveryResult.NEWER:
            # Scrape.do sends the delivery again for some minutes. Meanwhile, an upgraded receiver may take it.
            _tell(f"a newer version of this package wrote run {part_id.run_id}; upgrade this receiver")
        return BUSY if taken.result in _UNREAD else ACCEPTED

    def _take(self, delivery: WebhookDelivery, part_id: PartId, target: DeliveryTarget | None) -> TakenDelivery:
        return self.app_context.store.run(
            TakeDelivery(
                part_id,
                delivery.purchase.number,
                target,
                delivery.job_id,
                delivery.task_id,
                is_proven=delivery.is_proven,
                page=delivery.page,
                safety_after=self._safety_after,
            )
        )


def find_service(app: Celery | None = None) -> WebhookService:
    """Return the service of a Celery app in this process. Without an app, take the app of this process.

    No call does I/O. The first call of a process may take a tenth of a second.

    Raises:
        ConfigurationError: the settings have no keys, or are wrong.
    """
    app_context = AppContext.for_app(app)
    found: WebhookService | None = app_context.app.__dict__.get(_ATTRIBUTE)
    if found is None or found.app_context is not app_context:
        found = app_context.app.__dict__[_ATTRIBUTE] = WebhookService(app_context)
    return found


def put_off(error: Exception) -> Answer:
    """Log why a call cannot be served, and return the answer by which it is sent again.

    The log shows the type of the error and its place. Its text and its variables may hold a body.
    """
    _tell(_describe(error))
    return BUSY


def _proves_other_job(delivery: WebhookDelivery, target: DeliveryTarget) -> bool:
    """Return whether the API has sent the id of a job that neither is the part's own, nor can become its own."""
    is_final = bool(target.job_id) or target.state is PartState.DONE
    return delivery.is_proven and is_final and bool(delivery.job_id) and not same_id(delivery.job_id, target.job_id)


def _tell(reason: str) -> None:
    """Log why calls are put off, unless that was told a moment ago."""
    if _put_off_pause.begin():
        text = "webhooks are answered with 503, so that Scrape.do sends them again: %s; `scrape-do doctor` says more"
        log.error(text, reason, extra=log_fields("webhook_put_off"))


def _describe(error: Exception) -> str:
    if isinstance(error, StoreUnavailableError | ConfigurationError):
        return str(error)
    where = [f" at {one.filename}:{one.lineno}" for one in extract_tb(error.__traceback__)[-1:]]
    return "".join([type(error).__name__, *where])
