"""Limit the time of calls to the store: the deadline of a call, and sockets that keep the deadline."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

#: Attempts of a call that has less time than this get all of it: half of it may be too short for a connection.
_WHOLE_BELOW: Final = 2.0
#: Bytes of an attempt that are no progress yet: the greeting of a connection, and the replies to small commands.
_GREETING: Final = 16_384
#: Seconds that a send takes at least if the other side has taken bytes. A faster one only filled a buffer here.
_DRAINED: Final = 0.02
#: Bytes per system call while a request is sent, so that progress is seen.
_CHUNK: Final = 65_536


def attempt_seconds(left: float) -> float:
    """Return the seconds that an attempt may take if `left` remain. The rest is for a second connection.

    A server that was cut off never answers on an old connection, and its successor answers on a new one.
    """
    return left if left <= _WHOLE_BELOW else left / 2


class CallDeadline:
    """The end of a call to the store: after a total time, or after a time without progress."""

    def __init__(self, seconds: float, *, by_progress: bool = False) -> None:
        self._seconds, self._by_progress = seconds, by_progress
        self._until = self._attempt_until = time.monotonic() + seconds
        self._moved = 0
        #: whether the attempt failed before it had a connection, so that no command was sent
        self.is_unconnected = False

    @property
    def left(self) -> float:
        """Seconds until the end; 0 or less afterwards."""
        return self._until - time.monotonic()

    @property
    def attempt_left(self) -> float:
        """Seconds until the end of the attempt; 0 or less afterwards."""
        return self._attempt_until - time.monotonic()

    def start_command(self) -> None:
        """Begin a command. If progress counts, the time between two commands does not."""
        if self._by_progress:
            self._until = time.monotonic() + self._seconds

    def start_attempt(self) -> None:
        """Begin an attempt of a command."""
        self.is_unconnected, self._moved = False, 0
        self._attempt_until = time.monotonic() + attempt_seconds(self.left)

    def note_progress(self, size: int) -> None:
        """Note that the other side sent or took this number of bytes."""
        self._moved += size
        if self._by_progress and self._moved > _GREETING:
            now = time.monotonic()
            self._until, self._attempt_until = now + self._seconds, now + attempt_seconds(self._seconds)


_deadline: ContextVar[CallDeadline | None] = ContextVar("scrape_do_store_deadline", default=None)
#: Seconds for which the caller has waited for the thread that makes the call.
_waited: ContextVar[float] = ContextVar("scrape_do_waited", default=0.0)


def note_wait(seconds: float) -> None:
    """Take the time for which a caller waited for a thread off the total time of the calls in this context."""
    _waited.set(_waited.get() + seconds)


@contextmanager
def limited_time(seconds: float, *, by_progress: bool = False) -> Iterator[CallDeadline]:
    """Limit the calls to the store in this block. Inside another such block, the outer deadline holds."""
    outer = _deadline.get()
    if outer is not None:
        yield outer
        return
    if not by_progress:
        seconds -= _waited.get()
    token = _deadline.set(CallDeadline(seconds, by_progress=by_progress))
    try:
        yield _deadline.get() or CallDeadline(seconds)
    finally:
        _deadline.reset(token)


@contextmanager
def shortened_time(seconds: float) -> Iterator[None]:
    """Limit the calls to the store in this block to `seconds`, also inside another block that has more time."""
    outer = _deadline.get()
    token = _deadline.set(CallDeadline(seconds if outer is None else min(seconds, outer.left)))
    try:
        yield
    finally:
        _deadline.reset(token)


class DeadlineSocket:
    """A connected socket whose reads and writes end at the deadline of the call that they belong to."""

    def __init__(self, raw: Any) -> None:
        self._raw, self._timeout = raw, raw.gettimeout()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def fileno(self) -> int:
        """Return the descriptor, for `poll`."""
        return int(self._raw.fileno())

    def settimeout(self, timeout: float | None) -> None:
        """Set the timeout of each read and write, beside the deadline. 0 means that nothing waits."""
        self._timeout = timeout
        self._raw.settimeout(timeout)

    def recv(self, *args: Any) -> bytes:
        """Read as a socket does."""
        data: bytes = self._transfer(self._raw.recv, *args)
        _note_progress(len(data))
        return data

    def recv_into(self, *args: Any) -> int:
        """Read as a socket does."""
        size = int(self._transfer(self._raw.recv_into, *args))
        _note_progress(size)
        return size

    def sendall(self, data: bytes) -> None:
        """Write as a socket does, piece by piece."""
        rest = memoryview(data)
        while rest:
            began = time.monotonic()
            size = self._transfer(self._raw.send, rest[:_CHUNK])
            if time.monotonic() - began > _DRAINED:
                _note_progress(size)
            rest = rest[size:]

    def _transfer(self, move: Callable[..., Any], *args: Any) -> Any:
        deadline = _deadline.get()
        if deadline is None or self._timeout == 0:
            # A call before may have left the rest of its own time as the limit.
            self._raw.settimeout(self._timeout)
            return move(*args)
        left = deadline.attempt_left
        if left <= 0:
            raise TimeoutError("the time of the call is over")
        self._raw.settimeout(left if self._timeout is None else min(left, self._timeout))
        return move(*args)


def _note_progress(size: int) -> None:
    deadline = _deadline.get()
    if deadline is not None:
        deadline.note_progress(size)


def connect_in_time(connect: Callable[[], Any]) -> DeadlineSocket:
    """Return the socket that `connect` returns, within the deadline of the call. A name server's silence counts too.

    Raises:
        OSError: `connect` failed, or took too long.
    """
    deadline = _deadline.get()
    try:
        raw = connect() if deadline is None else call_in_time(connect, deadline.attempt_left, late=_close)
    except OSError:
        if deadline is not None:
            deadline.is_unconnected = True
        raise
    if deadline is not None:
        # A sentinel may have refused before. From here on, a command may reach a server.
        deadline.is_unconnected = False
    return DeadlineSocket(raw)


def _close(connected: Any) -> None:
    connected.close()


def _drop(_: Any) -> None:
    pass


def call_in_time(work: Callable[[], T], seconds: float, *, late: Callable[[T], object] = _drop) -> T:
    """Call `work` in a thread of its own, for work that no timeout ends, such as the resolution of a name.

    `late` gets a result that comes after the caller has given up.

    Raises:
        TimeoutError: `work` goes on after `seconds`.
    """
    future: Future[T] = Future()
    try:
        threading.Thread(target=_work_into, args=(future, work, late), name="scrape-do-call", daemon=True).start()
    except RuntimeError:
        return work()  # the interpreter is shutting down, and starts no more threads
    try:
        return future.result(max(0.0, seconds))
    except TimeoutError:
        if future.cancel():
            raise TimeoutError("no answer in time") from None
        return future.result()


def _work_into(future: Future[T], work: Callable[[], T], late: Callable[[T], object]) -> None:
    try:
        found = work()
    except BaseException as error:  # noqa: BLE001 (the error is handed to the caller)
        with suppress(InvalidStateError):
            future.set_exception(error)
        return
    try:
        future.set_result(found)
    except InvalidStateError:
        late(found)
