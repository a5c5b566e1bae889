"""Real OS threads beside the threads or greenlets of a pool, and the mailboxes through which they answer.

gevent replaces `threading`, so a `threading.Thread` becomes a greenlet of the calling thread. An event loop in such a
greenlet marks the whole thread as one that runs an event loop. Each `asyncio.run` and ORM query of the user's tasks
would fail there.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from contextlib import suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTLET = (
    "the eventlet pool is not supported: eventlet replaces the threads of the process and offers no way to wait for a "
    "real one; start the worker with -P threads, prefork or gevent"
)


#: Modules that libraries import during the first request.
_IMPORTED_LATE = ("anyio", "anyio._backends._asyncio", "encodings.idna", "httpcore._backends.anyio")


def import_late_modules() -> None:
    """Import the modules that the event loop needs. Under gevent, an import in two threads at once may block both."""
    for name in _IMPORTED_LATE:
        # The names belong to the libraries. A library without such a module imports nothing later.
        with suppress(ImportError):
            import_module(name)


def find_original(module: str, name: str) -> Any:
    """Return an object of the standard library as it was before gevent replaced it."""
    monkey = sys.modules.get("gevent.monkey")
    return getattr(import_module(module), name) if monkey is None else monkey.get_original(module, name)


def has_greenlets() -> bool:
    """Return whether gevent has made greenlets of the threads of this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def has_eventlet() -> bool:
    """Return whether eventlet has replaced the threads of this process."""
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))


def start_os_thread(target: Callable[[], None], name: str) -> None:
    """Start a function in a real OS thread, which does not keep the process alive."""
    if has_greenlets():
        find_original("_thread", "start_new_thread")(target, ())
    else:
        threading.Thread(target=target, name=name, daemon=True).start()


def destroy_hub() -> None:
    """Free the loop of gevent that sockets of gevent have made in this thread. Call this last in the thread."""
    if has_greenlets():
        from gevent import get_hub

        get_hub().destroy(destroy_loop=True)


class Mailbox(Protocol):
    """A queue from a real OS thread to the thread or greenlet that has opened it."""

    def put(self, item: Any) -> None:
        """Add an item. A closed mailbox drops the item."""

    def get(self, timeout: float | None = None) -> Any:
        """Return the next item. While it has not come, other greenlets run.

        Raises:
            TimeoutError: no item came within `timeout` seconds.
        """

    def close(self) -> None:
        """Drop the items that come later."""


def open_mailbox() -> Mailbox:
    """Open a mailbox for the calling thread or greenlet."""
    return _GreenletMailbox() if has_greenlets() else _ThreadMailbox()


class _ThreadMailbox:
    def __init__(self) -> None:
        self._items: SimpleQueue[Any] = SimpleQueue()

    def put(self, item: Any) -> None:
        self._items.put(item)

    def get(self, timeout: float | None = None) -> Any:
        try:
            return self._items.get(timeout=timeout)
        except Empty:
            raise TimeoutError from None

    def close(self) -> None:
        """Do nothing: the queue vanishes with the mailbox."""


class _GreenletMailbox:
    """A mailbox whose owner waits in gevent's loop. Another thread may only use the `async_` watcher of that loop."""

    def __init__(self) -> None:
        from gevent import get_hub
        from gevent.event import Event

        self._items: deque[Any] = deque()
        self._arrived, self._is_open = Event(), True
        # A lock of gevent would make the thread of the event loop wait in a second loop of gevent.
        self._lock = find_original("_thread", "allocate_lock")()
        self._watcher = get_hub().loop.async_()
        self._watcher.start(self._arrived.set)

    def put(self, item: Any) -> None:
        # Without the lock, the owner may close the watcher before `send`, which can crash the process.
        with self._lock:
            if self._is_open:
                self._items.append(item)
                self._watcher.send()

    def get(self, timeout: float | None = None) -> Any:
        while not self._items:
            if not self._arrived.wait(timeout):
                raise TimeoutError
            self._arrived.clear()
        return self._items.popleft()

    def close(self) -> None:
        with self._lock:
            self._is_open = False
            self._watcher.stop()
            self._watcher.close()
