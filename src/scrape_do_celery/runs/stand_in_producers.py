"""Stand-ins for kombu's producer, by which Celery makes a message as for any task, and hands it over unpublished.

So the receivers of `before_task_publish`, and the `apply_async` and `send_task` of an app, add their headers to it.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from celery.backends.rpc import RPCBackend
from kombu.connection import Connection
from kombu.exceptions import KombuError

from scrape_do_celery import routing
from scrape_do_celery.redaction import message_reprs
from scrape_do_celery.runs.message_headers import select_app_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery import Celery, Task

    from scrape_do_celery.runs.context import AppContext

_ATTRIBUTE = "scrape_do_captured_task"
#: The positional arguments, the named arguments, and the canvas.
_BODY_PARTS = 3
#: The argument by which a step ignores a message that was only made for its headers. An app whose `send_task` does not
#: use the producer that it is given publishes such a message.
CAPTURED = "captured"


class _StandInProducer:
    """A producer that treats the message of the task in its own way, and publishes the events beside it."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    @property
    def connection(self) -> Any:
        """The connection by which Celery knows the errors of the broker."""
        return self._producer.connection

    @property
    def channel(self) -> Any:
        """The channel by which the backend `rpc://` declares the queue of the caller's results."""
        return _QuietChannel(self._producer)

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish as kombu's producer does. Celery may repeat the publication of the message.

        An app that wraps the producer may publish a body of its own before the message, or a copy of the message.
        """
        return self._publish_message(body, options) if _is_message(body) else self._publish_event(body, options)

    def revive(self, channel: Any) -> None:
        """Do nothing: each publication takes a producer with a live channel."""

    def _publish_event(self, body: Any, options: dict[str, Any]) -> Any:
        return self._producer.publish(body, **options)

    def _publish_message(self, body: Any, options: dict[str, Any]) -> Any:
        raise NotImplementedError


def _is_message(body: Any) -> bool:
    """Return whether a body is that of a task, in either version of Celery's messages, and not that of an event."""
    return "task" in body if isinstance(body, dict) else isinstance(body, tuple | list) and len(body) == _BODY_PARTS


class CallProducer(_StandInProducer):
    """A producer that lets a function change the body of the message, after the app has set the headers."""

    def __init__(self, producer: Any, prepare: Callable[[Any, dict[str, Any]], Any]) -> None:
        super().__init__(producer)
        self._prepare = prepare

    def _publish_message(self, body: Any, options: dict[str, Any]) -> Any:
        return self._producer.publish(self._prepare(body, options), **options)


class DeliveryProducer(_StandInProducer):
    """A producer that gives the message of a delivery the headers of the call, whatever this process would set.

    The dispatcher publishes deliveries outside of any tenant and request.
    """

    def __init__(self, app_context: AppContext, canvas: dict[str, Any]) -> None:
        super().__init__(app_context.producer)
        self._headers: dict[str, Any] = canvas.get("headers") or {}
        # Without a caller that waits, the result must not go to a queue that nobody reads.
        self._addressed = {"reply_to": canvas.get("reply_to") or ""} if has_reply_queues(app_context.app) else {}

    @property
    def channel(self) -> Any:
        """A channel that declares nothing: the caller has declared the queue of its results."""
        return _QuietChannel(None)

    def _publish_message(self, body: Any, options: dict[str, Any]) -> Any:
        headers = {**(options.get("headers") or {}), **self._headers}
        return self._producer.publish(body, **{**options, **self._addressed, "headers": headers})


class CapturingProducer(_StandInProducer):
    """A producer that keeps the options of the message, and publishes nothing."""

    def __init__(self, producer: Any, *, declares: bool) -> None:
        super().__init__(producer)
        self._declares = declares
        self.options: dict[str, Any] = {}

    @property
    def connection(self) -> Any:
        """A connection to nothing: no message is published, so a wrong `broker_url` must not keep a run back."""
        return Connection("memory://")  # type: ignore[no-untyped-call]

    @property
    def channel(self) -> Any:
        """The channel, which declares the caller's queue once for all messages of a call."""
        return _QuietChannel(self._producer if self._declares else None)

    def _publish_event(self, body: Any, options: dict[str, Any]) -> Any:
        pass

    def _publish_message(self, body: Any, options: dict[str, Any]) -> Any:  # noqa: ARG002 (no body is published)
        self.options = options


class _QuietChannel:
    """A stand-in for a channel and its connection, which declares a queue within the deadline of a publication.

    The call goes on without the queue: a broker that is away must not keep a run from being written.
    """

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self.connection = self.client = self

    def ensure(self, queue: Any, *_: Any, **__: Any) -> Callable[..., None]:
        """Return a function that declares the queue, as the method of a kombu connection does."""

        def declare(*_: Any) -> None:
            if self._producer is not None:
                try:
                    self._producer.declare(queue)
                except (KombuError, OSError):
                    # The publication of the message fails as well, and is logged.
                    return

        return declare


def has_reply_queues(app: Celery) -> bool:
    """Return whether each result goes to a queue that only its caller reads."""
    return isinstance(app.backend, RPCBackend)


def message_options(app: Celery, headers: Mapping[str, Any] | None, reply_to: str | None) -> dict[str, Any]:
    """Return what a run keeps of a message: the headers that the app has added, and the queue of its results.

    Raises:
        ValueError: the headers are too long, or cannot be kept.
    """
    kept = {"headers": select_app_headers(headers or {}), "reply_to": reply_to if has_reply_queues(app) else None}
    return {name: value for name, value in kept.items() if value}


class MessageCapture:
    """The messages of one call that starts runs without a message of its own: `enqueue`."""

    def __init__(self, app_context: AppContext) -> None:
        self._app_context, self._count = app_context, 0
        self._task = app_context.app.__dict__.get(_ATTRIBUTE) or _make_task(app_context.app)

    def capture(self, run_id: str) -> dict[str, Any]:
        """Make the message of a scrape, without the request. Return what a run keeps of it.

        Raises:
            ValueError: the headers are too long, or cannot be kept.
        """
        app_context, addressed = self._app_context, has_reply_queues(self._app_context.app)
        producer = CapturingProducer(app_context.producer, declares=self._count == 0)
        self._count += 1
        options = {
            "queue": app_context.settings.queue,
            # A receiver that counts messages in flight tells by this that the message goes to no queue.
            "declare": [],
            "producer": producer,
            # Other backends would listen for a result that nobody may ask for.
            "ignore_result": not addressed,
            "add_to_parent": False,
            **message_reprs(run_id, {}),
        }
        # Instrumentation of Celery may leave its span attached. The copied context keeps that span away.
        arguments = {"run_id": run_id, CAPTURED: True}
        copy_context().run(self._task.apply_async, (), arguments, task_id=run_id, **options)
        return message_options(app_context.app, producer.options.get("headers"), producer.options.get("reply_to"))


class _UnroutedTask:
    """Options that the class of the app's tasks may have, and that are not for the messages of steps."""

    queue = exchange = exchange_type = routing_key = delivery_mode = expires = None


def _make_task(app: Celery) -> Any:
    """Return a task with the class of the app's own tasks and the name of the public step, which may be unknown here.

    The task is not registered. Its options of routing and expiry are those of the steps.
    """
    base: type[Task] = app.Task
    made = type("CapturedTask", (_UnroutedTask, base), {"name": routing.SCRAPE, "typing": False})()
    app.__dict__[_ATTRIBUTE] = made
    return made
