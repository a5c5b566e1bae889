"""A real worker on threads of the test's process. Its steps run patched code, and count for coverage."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

from celery import signals
from celery._state import _set_task_join_will_block
from celery.worker import WorkController, state
from kombu.asynchronous import set_event_loop

import scrape_do_celery.tasks  # noqa: F401 (the steps, and with them the dispatcher)
from scrape_do_celery.runs import AppContext
from scrape_do_celery.store.commands.changes import CountChangedRuns
from scrape_do_celery.store.commands.stats import ReadClock
from scrape_do_celery.testing.messages import Messages
from scrape_do_celery.worker import lifecycle, notifier
from scrape_do_celery.worker.dispatcher import SHORTEST, Dispatcher

if TYPE_CHECKING:
    from types import TracebackType

    from celery import Celery

    from scrape_do_celery.worker.task_events import TaskEventSender

#: Steps that run at the same time.
_STEPS = 4
#: Longest sleep of the dispatcher and of the notifier, in seconds, so that a test does not wait for them.
_CHECK_INTERVAL = 0.05
#: Seconds that the start and the stop of the worker may take.
_TIMEOUT = 30.0


class WorkerError(RuntimeError):
    """The worker of a test did not start, or did not stop."""


class Worker:
    """A worker of an app, which runs while its context lasts."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.messages = Messages(app, self._listen)
        #: Held by a thread while it checks for due work or announces changes.
        self.check_lock = threading.RLock()
        self._dispatcher: _Dispatcher | None = None
        self._controller: _Controller | None = None
        self._trouble: BaseException | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scrape-do-test-worker", daemon=True)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(patch.object(lifecycle, "Dispatcher", partial(_Dispatcher, self)))
            stack.enter_context(patch.object(lifecycle, "ChangeNotifier", partial(_Notifier, self)))
            stack.enter_context(patch.object(notifier, "_EVERY", _CHECK_INTERVAL))
            self.messages.count(stack)
            # Each worker needs a new loop. Otherwise Celery would reuse the last worker's loop and its timer.
            set_event_loop(None)
            stack.callback(set_event_loop, None)
            self._thread.start()
            stack.callback(self._stop)
            if not self._up.wait(_TIMEOUT) or self._controller is None or not self._thread.is_alive():
                raise WorkerError(
                    f"the worker did not start: {self._trouble or 'it takes too long'}"
                ) from self._trouble
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
        state.should_stop = 0
        try:
            if self._controller is not None and self._controller.hub is not None:
                self._controller.hub.call_soon(_nothing)
            self._thread.join(_TIMEOUT)
        finally:
            state.should_stop = None
        if self._thread.is_alive():
            raise WorkerError(f"the worker did not stop; under way: {', '.join(self.messages.names) or 'nothing'}")

    def _listen(self, queue: str) -> None:
        """Consume from a queue to which a message was published, as another worker would."""
        if self._controller is not None and self._controller.hub is not None:
            self._controller.hub.call_soon(self._controller.consumer.add_task_queue, queue)

    def set_dispatcher(self, dispatcher: _Dispatcher) -> None:
        """Set the dispatcher, which publishes step messages for due work."""
        self._dispatcher = dispatcher

    def is_quiet(self) -> bool:
        """Tell whether no work is due, no message is in flight, and all changes are announced.

        If work is due, dispatch it.
        """
        with self.check_lock:
            moves, store = self.messages.moves, AppContext.for_app(self.app).store
            if self._dispatcher is None or self._dispatcher.dispatch_due() <= SHORTEST or self._dispatcher.is_asking:
                return False
            untold = store.run(CountChangedRuns(store.run(ReadClock())))
            return not untold and not self.messages.names and moves == self.messages.moves


class _Controller(WorkController):  # type: ignore[misc]
    """Celery's worker without signals of the operating system, which only the main thread may handle."""

    hub = None

    def __init__(self, *, up: threading.Event, **options: Any) -> None:
        self._up = up
        super().__init__(**options)

    def on_consumer_ready(self, consumer: Any) -> None:
        """Report that the worker consumes."""
        signals.worker_ready.send(sender=consumer)
        self._up.set()


class _Dispatcher(Dispatcher):
    """A dispatcher that polls more often, and pauses while another thread checks whether work is due."""

    def __init__(self, worker: Worker, app_context: AppContext) -> None:
        super().__init__(app_context)
        self._worker = worker
        worker.set_dispatcher(self)

    def dispatch_due(self) -> float:
        """Dispatch due work once; return the seconds until the next time."""
        with self._worker.check_lock:
            return min(_CHECK_INTERVAL, super().dispatch_due())

    @property
    def is_asking(self) -> bool:
        """Whether the dispatcher has passed work to a thread that has not published it yet."""
        return self._asking.is_alive()


class _Notifier(notifier.ChangeNotifier):
    """A notifier that announces changes soon, before a test considers the worker idle."""

    def __init__(self, worker: Worker, app_context: AppContext, monitor: TaskEventSender) -> None:
        super().__init__(app_context, monitor)
        self._worker = worker

    def notify_once(self) -> bool:
        """Announce changes once; return whether more are waiting."""
        with self._worker.check_lock:
            return super().notify_once()


def _nothing() -> None:
    """Do nothing; scheduling this wakes a loop."""
