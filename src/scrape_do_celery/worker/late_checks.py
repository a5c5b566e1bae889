"""Check the store of a worker that started while the store was away, as soon as the store answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.worker import state

from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.runs import is_own_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.runs import AppContext

log = get_logger(__name__)

#: The exit code of a worker whose store turned out to be unusable.
_FAILED = 1


class LateStoreCheck:
    """The check of one worker, which consumes no step messages until the store has passed.

    If not `consumes`, the user chose other queues for the worker, and it never consumes step messages.
    """

    def __init__(
        self,
        app_context: AppContext,
        consumer: Any,
        find_fault: Callable[[AppContext], str | None],
        *,
        consumes: bool = True,
    ) -> None:
        self._app_context, self._consumer, self._find_fault = app_context, consumer, find_fault
        self._consumes = consumes
        self._fault: str | None = None

    def has_passed(self) -> bool:
        """Check the store. Begin to consume if it can be used; otherwise end the worker, or leave the queue alone.

        Raises:
            RedisError: the store does not answer yet.
        """
        if self._fault is None:
            try:
                self._fault = self._find_fault(self._app_context)
            except ConfigurationError as error:
                self._fault = str(error)
            if self._fault is None:
                if self._consumes:
                    self._consume()
                return True
            self._give_up(self._fault)
        return False

    def _consume(self) -> None:
        queue = self._app_context.settings.queue
        # This thread must not use the connection of the consumer.
        self._consumer.call_soon(self._add_queue, queue)
        log.info("the store answers; this worker consumes the queue %s now", queue, extra=log_fields("store_back"))

    def _add_queue(self, queue: str) -> None:
        queues = self._app_context.app.amqp.queues
        # Before version 5.7, Celery would forget the queue when it connects to the broker again.
        queues.select_add(queues[queue])
        self._consumer.add_task_queue(queue)

    def _give_up(self, fault: str) -> None:
        app = self._app_context.app
        if is_own_app(app) or not app.amqp.queues.consume_from:
            log.critical("%s; this worker ends", fault, extra=log_fields("store_unusable"))
            state.should_stop = _FAILED
        else:
            log.error(
                "%s; this worker does not consume the queue of scrapes", fault, extra=log_fields("store_unusable")
            )
