"""The messages in flight between the producers and the worker of one process."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from celery import signals
from kombu.entity import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack

    from celery import Celery


class Messages:
    """The messages that were published in this process and are not finished yet, without messages that have an `eta`.

    If a message is published to a queue that the worker does not consume from, `listen` gets the queue's name, once.
    """

    def __init__(self, app: Celery, listen: Callable[[str], object]) -> None:
        self._app, self._listen = app, listen
        self._heard: set[str] = set()
        self._lock = threading.Lock()
        self._open: Counter[tuple[str, str]] = Counter()
        #: Grows with each message that is published or finished.
        self.moves = 0

    def count(self, stack: ExitStack) -> None:
        """Count messages until `stack` is closed."""
        for signal, receiver in (
            (signals.before_task_publish, self._published),
            (signals.task_postrun, self._done),
            (signals.task_revoked, self._refused),
            (signals.task_unknown, self._unknown),
        ):
            signal.connect(receiver, weak=False)
            stack.callback(signal.disconnect, receiver)

    @property
    def names(self) -> list[str]:
        """The names of the tasks in flight."""
        with self._lock:
            return sorted(name for name, _ in self._open)

    def _published(
        self, sender: str, headers: dict[str, Any], routing_key: str = "", declare: Iterable[Any] = (), **_: Any
    ) -> None:
        queues = {one.name for one in declare or () if isinstance(one, Queue) and one.routing_key == routing_key}
        for name in queues - self._app.amqp.queues.consume_from.keys() - self._heard:
            # In production, other workers may serve other queues. In a test, this worker serves them.
            self._heard.add(name)
            self._listen(name)
        if queues and headers.get("eta") is None:
            self._move(str(headers["id"]), sender, 1)

    def _done(self, task_id: str, **_: Any) -> None:
        self._move(task_id, "", -1)

    def _refused(self, request: Any, **_: Any) -> None:
        self._move(str(request.id), "", -1)

    def _unknown(self, id: str, **_: Any) -> None:  # noqa: A002 (Celery's name)
        self._move(id, "", -1)

    def _move(self, task_id: str, name: str, by: int) -> None:
        with self._lock:
            self.moves += 1
            key = (name, task_id) if by > 0 else next((one for one in self._open if one[1] == task_id), None)
            if key is None:
                return
            self._open[key] += by
            if self._open[key] <= 0:
                del self._open[key]
