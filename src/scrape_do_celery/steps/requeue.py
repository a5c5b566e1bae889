"""Requeue a message that this worker cannot serve now."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from celery.exceptions import Reject

from scrape_do_celery.errors import NewerRecordError, StoreUnavailableError
from scrape_do_celery.steps.waiting_parts import warn_newer_record

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds before a message is requeued. Without the pause, broker and worker would exchange it without end.
_PAUSE = 1


def requeue_message(error: Exception) -> NoReturn:
    """Give the message of the current task back to the broker, because of `error`.

    Raises:
        Reject: always. Celery then requeues the message.
    """
    time.sleep(_PAUSE)
    raise Reject(type(error).__name__, requeue=True) from error


@contextmanager
def requeue_if_unserved() -> Iterator[None]:
    """Requeue the message of the current task if the block finds no store, or a run of a newer version.

    Raises:
        Reject: the store does not answer, or only a worker of a newer version may work on the run.
    """
    try:
        yield
    except NewerRecordError as error:
        warn_newer_record(error.version)
        requeue_message(error)
    except StoreUnavailableError as error:
        requeue_message(error)
