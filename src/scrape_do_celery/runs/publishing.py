"""Publish messages within a deadline, in threads that the caller can leave behind."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, wait
from contextvars import copy_context
from functools import cached_property, partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from kombu.common import maybe_declare
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool

from scrape_do_celery.config.celery_sentinels import limit_sentinels

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

#: Seconds for which a caller tries a broker that has just left another caller without an answer. A failure after this
#: time counts as silence, whatever its error is.
_PROBE = 1.0
#: Threads without work that are kept for the next callers.
_KEPT_THREADS = 4
#: Options by which a socket of a transport times out. A thread that was left behind ends by them.
_REDIS_TIMEOUTS = ("socket_timeout", "socket_connect_timeout")
_SOCKET_TIMEOUTS = {
    **dict.fromkeys(("redis", "rediss", "sentinel"), _REDIS_TIMEOUTS),
    **dict.fromkeys(("amqp", "amqps", "pyamqp"), ("read_timeout", "write_timeout")),
}


class DeadlineProducer:
    """A stand-in for kombu's producer, which Celery takes as `producer`. A publication ends within `timeout` seconds.

    A late publication may still arrive. Each step reads the record first, so a late or doubled message does no harm.
    The signals of Celery are sent by the calling thread, because their receivers may read what belongs to a thread.
    """

    def __init__(self, app: Celery, timeout: float) -> None:
        self._app, self._timeout = app, timeout
        #: The connections of the parent process. They stay referenced, because their end could write to the broker.
        self._of_parent: list[Any] = []
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid, self._threads, self._lock = os.getpid(), _PublishingThreads(), threading.Lock()
        #: When the next caller may try the broker; None while the broker answers.
        self._next_try: float | None = None

    def _leave_parent(self) -> None:
        """In a child of a fork, leave the parent's connections alone. The parent's threads do not exist here."""
        if self._pid != os.getpid():
            self._of_parent += [self.__dict__.pop(name, None) for name in ("_producers", "connection")]
            self._start_afresh()

    @cached_property
    def connection(self) -> Any:
        """The address of the broker. This connection itself stays closed."""
        url = str(self._app.conf.broker_write_url or "")
        given = self._app.conf.broker_transport_options
        names = _SOCKET_TIMEOUTS.get(url.partition(":")[0], ())
        options: dict[str, Any] = {name: self._timeout for name in names if name not in given}
        if url.startswith("sentinel"):
            # Celery's own options for the sentinels replace the limits above, so they get limits too.
            options["sentinel_kwargs"] = limit_sentinels(given.get("sentinel_kwargs") or {})
        return self._app.connection_for_write(connect_timeout=self._timeout, transport_options=options)

    @cached_property
    def _producers(self) -> Any:
        limit = self._app.conf.broker_pool_limit
        make_pool: Any = ProducerPool
        return make_pool(self.connection.Pool(limit), limit=limit)

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish as kombu's producer does.

        Raises:
            OperationalError: the broker does not answer.
        """
        for name in ("timeout", "confirm_timeout"):
            if options.get(name) is None:
                options[name] = self._timeout
        return self._call(lambda producer: producer.publish(body, **options))

    def declare(self, queue: Any) -> Any:
        """Declare a queue on the broker. A second declaration changes nothing.

        Raises:
            OperationalError: the broker does not answer.
        """
        # The queue of the results of `rpc://` belongs to the calling thread, which has named it.
        declare: Callable[..., Any] = maybe_declare
        return self._call(lambda producer: declare(queue(producer.channel), retry=True, max_retries=1))

    def _call(self, work: Callable[[Any], Any]) -> Any:
        self._leave_parent()
        seconds, began = self._wait_allowed(), time.monotonic()
        answer = self._threads.start(partial(copy_context().run, self._call_now, work))
        try:
            return _read_in_time(answer, seconds)
        except Exception:
            # On a busy machine, the socket of the thread times out before this deadline. The next callers must not wait
            # for the same silence.
            if time.monotonic() - began >= self._probe:
                self._next_try = time.monotonic() + self._timeout
            raise

    @property
    def _probe(self) -> float:
        return min(_PROBE, self._timeout)

    def _wait_allowed(self) -> float:
        """Return the seconds for which this call may wait. While the broker is silent, only one caller tries it."""
        with self._lock:
            now = time.monotonic()
            if self._next_try is None:
                return self._timeout
            if now < self._next_try:
                raise OperationalError(
                    f"the broker did not answer a moment ago; it is tried again in {self._next_try - now:.1f} s"
                )
            self._next_try = now + self._timeout
            return self._probe

    def _call_now(self, work: Callable[[Any], Any]) -> Any:
        with self._producers.acquire(block=True, timeout=self._timeout) as producer:
            answer = work(producer)
        self._next_try = None
        return answer

    def revive(self, channel: Any) -> None:
        """Do nothing: each publication takes a producer with a live channel."""

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._leave_parent()
        if "_producers" in self.__dict__:
            self._producers.force_close_all()
            self._producers.connections.force_close_all()
        self._threads.close()


def _read_in_time(answer: Future[Any], seconds: float) -> Any:
    # `Future.result` raises the same error at a deadline and for a socket that timed out.
    wait([answer], seconds)
    if not answer.done():
        raise OperationalError(f"the broker did not answer within {seconds:g} s")
    return answer.result()


class _PublishingThreads:
    """Threads that make calls. A thread that hangs is left behind, and does not keep the process alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Call | None]] = []

    def start(self, function: Callable[[], Any]) -> Future[Any]:
        """Start a call in an idle or a new thread. Return the future of its result."""
        call = _Call(Future(), function)
        with self._lock:
            calls = self._idle.pop() if self._idle else None
        if calls is None:
            calls = SimpleQueue()
            threading.Thread(target=self._serve, args=(calls,), name="scrape-do-publisher", daemon=True).start()
        calls.put(call)
        return call.answer

    def _serve(self, calls: SimpleQueue[_Call | None]) -> None:
        while (call := calls.get()) is not None:
            call.make()
            with self._lock:
                if len(self._idle) >= _KEPT_THREADS:
                    return
                self._idle.append(calls)

    def close(self) -> None:
        """End the threads without work."""
        with self._lock:
            idle, self._idle = self._idle, []
        for calls in idle:
            calls.put(None)


class _Call:
    def __init__(self, answer: Future[Any], function: Callable[[], Any]) -> None:
        self.answer, self._function = answer, function

    def make(self) -> None:
        try:
            result = self._function()
        except BaseException as error:  # noqa: BLE001 (the caller gets the error)
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)
