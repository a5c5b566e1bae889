"""Subscribe to the result of a call within a deadline. Celery subscribes before it publishes, without a deadline."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from celery.backends.redis import RedisBackend

from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.store.deadlines import call_in_time

if TYPE_CHECKING:
    from celery import Celery


def subscribe_in_time(app: Celery, task_id: str, seconds: float) -> None:
    """Subscribe to the result of a call as Celery does. Celery's own subscription finds the work done.

    Raises:
        StoreUnavailableError: the result backend did not answer within `seconds`.
    """
    backend = app.backend
    # Other backends send nothing, or declare a queue by the producer, which has a deadline.
    if not isinstance(backend, RedisBackend):
        return
    try:
        call_in_time(partial(backend.on_task_call, None, task_id), seconds)
    except TimeoutError:
        message = "Celery's result backend did not answer in time; the run is not written, and no message is published"
        raise StoreUnavailableError(message, "", [task_id], False) from None
