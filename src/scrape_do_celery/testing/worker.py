"""A real worker on threads of the test's process. Its steps run patched code, and count for coverage."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from celery import signals
from celery._state import _set_task_join_will_block
from celery.exceptions import WorkerShutdown
from celery.worker import WorkController
from kombu.asynchronous import set_event_loop

import scrape_do_celery.tasks  # noqa: F401 (the steps, and with them the dispatcher)
from scrape_do_celery.runs import AppContext
from scrape_do_celery.store.commands.changes import CountChangedRuns
from scrape_do_celery.store.commands.stats import ReadClock
from scrape_do_celery.testing.messages import Messages
from scrape_do_celery.worker import lifecycle
from scrape_do_celery.worker.dispatcher import SHORTEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from celery import Celery

#: Steps that run at the same time.
_STEPS = 4
#: Seconds that the start and the stop of the worker may take.
_TIMEOUT = 30.0


class WorkerError(RuntimeError):
    """The worker of a test did not start, or did not stop."""


class Worker:
    """A worker of an app, which runs while its context lasts."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.messages = Messages(app, self._listen)
        self._threads: lifecycle.WorkerThreads | None = None
        self._controller: _Controller | None = None
        self._trouble: BaseException | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scrape-do-test-worker", daemon=True)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.messages.count(stack)
            # Each worker needs a new loop. Otherwise Celery would reuse the last worker's loop and its timer.
            set_event_loop(None)
            stack.callback(set_event_loop, None)
            self._thread.start()
            stack.callback(self._stop)
            if not self._up.wait(_TIMEOUT) or self._controller is None or not self._thread.is_alive():
                raise WorkerError(
                    f"the worker did not start: {self._trouble or 'the start takes too long'}"
                ) from self._trouble
            self._threads = lifecycle.running_threads()
            if self._threads is None:
                raise WorkerError("the worker does not consume scrapes; its log has the reason")
            # A test may wait for results, because it is not a step of this worker.
            _set_task_join_will_block(False)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _run(self) -> None:
        try:
            # Create the controller on this thread, because in Django that closes the thread's database connections.
            self._controller = _Controller(
                app=self.app,
                up=self._up,
                hostname=f"test@{threading.get_native_id()}",
                pool="threads",
                concurrency=_STEPS,
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
            )
            self._controller.start()
        except BaseException as error:  # noqa: BLE001 (also SystemExit: `__enter__` reports it)
            self._trouble = error
        finally:
            self._up.set()

    def _stop(self) -> None:
        signals.worker_shutting_down.send(sender=self.app, sig="SIGTERM", how="Warm", exitcode=0)
        self._call_soon(_shut_down)
        self._thread.join(_TIMEOUT)
        if self._thread.is_alive():
            raise WorkerError(
                f"the worker did not stop; messages in work: {', '.join(self.messages.names) or 'nothing'}"
            )

    def _listen(self, queue: str) -> None:
        """Consume from a queue to which a message was published, as another worker would."""
        self._call_soon(lambda consumer: consumer.add_task_queue(queue))

    def _call_soon(self, act: Callable[[Any], object]) -> None:
        """Call a function of the consumer on the worker's own thread, once the worker consumes."""
        consumer = None if self._controller is None else self._controller.consumer
        if consumer is not None:
            consumer.call_soon(act, consumer)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the dispatcher and the notifier from new passes, so that the worker starts no work by itself."""
        with ExitStack() as stack:
            for thread in self._threads or ():
                stack.enter_context(thread.pass_lock)
            yield

    def is_quiet(self) -> bool:
        """Tell whether no work is due, no message is in flight, and all changes are announced.

        If work is due, dispatch it. Call the method within `paused`.
        """
        moves, store = self.messages.moves, AppContext.for_app(self.app).store
        if self._threads is None:
            return False
        dispatcher = self._threads.dispatcher
        if dispatcher.dispatch_due() <= SHORTEST or dispatcher.is_asking:
            return False
        unannounced = store.run(CountChangedRuns(store.run(ReadClock())))
        return not unannounced and not self.messages.names and moves == self.messages.moves


class _Controller(WorkController):  # type: ignore[misc]
    """Celery's worker without signals of the operating system, which only the main thread may handle."""

    consumer: Any = None

    def __init__(self, *, up: threading.Event, **options: Any) -> None:
        self._up = up
        super().__init__(**options)

    def on_consumer_ready(self, consumer: Any) -> None:
        """Report that the worker consumes."""
        signals.worker_ready.send(sender=consumer)
        self._up.set()


def _shut_down(_: Any) -> None:
    """Stop the worker from within its own thread, as a signal of the operating system does."""
    raise WorkerShutdown(0)
