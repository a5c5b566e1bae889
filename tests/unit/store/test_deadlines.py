"""Test the deadline of a call to the store, with sockets of this process."""

from __future__ import annotations

import socket
import threading
import time
from contextvars import copy_context

import pytest

from scrape_do_celery.store import deadlines
from scrape_do_celery.store.deadlines import (
    CallDeadline,
    DeadlineSocket,
    attempt_seconds,
    connect_in_time,
    limited_time,
    note_wait,
)


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with near, far:
        yield DeadlineSocket(near), far


def test_half_of_the_time_is_left_for_a_second_connection():
    assert attempt_seconds(10.0) == 5.0
    assert attempt_seconds(1.5) == 1.5


def test_an_outer_limit_holds():
    with limited_time(1.0) as outer, limited_time(60.0) as inner:
        assert inner is outer
        assert inner.left <= 1.0
    with limited_time(60.0) as later:
        assert later.left > 1.0


def test_silence_ends_a_read(pair):
    near, _ = pair
    with limited_time(0.05), pytest.raises(TimeoutError):
        near.recv(10)
    with limited_time(0.0), pytest.raises(TimeoutError):
        near.recv(10)


def test_a_deadline_leaves_no_short_timeout_behind(pair):
    """A call without a deadline, such as of `doctor`, takes a connection whose last call had hardly any time left."""
    near, far = pair
    near.settimeout(5.0)
    far.sendall(b"ab")
    with limited_time(0.05):
        assert near.recv(1) == b"a"
    assert near.recv(1) == b"b"
    assert near.gettimeout() == 5.0


def test_the_wait_for_a_thread_is_time_of_a_small_call():
    def left(**options):
        note_wait(3.0)
        with limited_time(10.0, **options) as deadline:
            return deadline.left

    assert copy_context().run(left) <= 7.0
    assert copy_context().run(left, by_progress=True) > 9.0


def test_a_socket_without_a_deadline_keeps_its_own_timeout(pair):
    near, far = pair
    near.settimeout(0.01)
    with pytest.raises(TimeoutError):
        near.recv(10)
    near.settimeout(0)
    with limited_time(60.0), pytest.raises(BlockingIOError):
        near.recv(10)
    near.settimeout(None)
    far.sendall(b"ab")
    buffer = bytearray(2)
    with limited_time(60.0):
        assert near.recv_into(buffer) == 2
    assert buffer == b"ab"


def test_a_total_time_ends_although_bytes_trickle_in(pair):
    near, far = pair
    far.sendall(b"x" * 200_000)
    with limited_time(60.0) as deadline:
        before = deadline.left
        for _ in range(3):
            near.recv(50_000)
        assert deadline.left <= before


def test_pages_that_move_extend_the_time(pair):
    near, far = pair
    far.sendall(b"x" * 50_000)
    with limited_time(60.0, by_progress=True) as deadline:
        time.sleep(0.01)
        deadline.start_attempt()
        before = deadline.left
        near.recv(100)
        assert deadline.left < before
        near.recv(30_000)
        assert deadline.left > before


def test_bytes_that_only_fill_a_buffer_are_no_progress(pair):
    near, _ = pair
    with limited_time(0.3, by_progress=True), pytest.raises(TimeoutError):
        near.sendall(b"x" * 50_000_000)


def test_bytes_that_the_other_side_takes_are_progress(pair):
    near, far = pair
    size = 3_000_000

    def take():
        left = size
        while left > 0:
            time.sleep(0.03)
            left -= len(far.recv(300_000))

    reader = threading.Thread(target=take)
    reader.start()
    with limited_time(30.0, by_progress=True) as deadline:
        near.sendall(b"x" * size)
        assert deadline._moved > 0
    reader.join()


def test_time_between_two_commands_does_not_count_if_progress_does():
    for by_progress in (True, False):
        deadline = CallDeadline(10.0, by_progress=by_progress)
        deadline._until -= 9.0
        deadline.start_command()
        assert (deadline.left > 5.0) == by_progress


def test_a_connection_that_is_refused_was_not_sent_to():
    def refuse():
        raise ConnectionRefusedError

    with limited_time(1.0) as deadline:
        with pytest.raises(ConnectionRefusedError):
            connect_in_time(refuse)
        assert deadline.is_unconnected
        deadline.start_attempt()
        assert not deadline.is_unconnected
    with pytest.raises(ConnectionRefusedError):
        connect_in_time(refuse)


def test_a_name_server_that_is_silent_ends_with_the_call(pair):
    near, _ = pair
    goes_on, closed = threading.Event(), threading.Event()
    near.close = closed.set

    def resolve():
        goes_on.wait(10)
        return near

    with limited_time(0.05), pytest.raises(TimeoutError):
        connect_in_time(resolve)
    goes_on.set()
    assert closed.wait(10)


def test_a_late_error_of_a_connection_is_dropped():
    goes_on = threading.Event()

    def resolve():
        goes_on.wait(10)
        raise OSError("no such host")

    with limited_time(0.05), pytest.raises(TimeoutError):
        connect_in_time(resolve)
    goes_on.set()


def test_a_connection_s_own_timeout_is_raised():
    def time_out():
        raise TimeoutError("connect")

    with limited_time(5.0), pytest.raises(TimeoutError, match="connect"):
        connect_in_time(time_out)


def test_a_late_result_is_dropped():
    goes_on, done = threading.Event(), threading.Event()

    def work():
        goes_on.wait(10)
        done.set()

    with pytest.raises(TimeoutError, match="no answer in time"):
        deadlines.call_in_time(work, 0.01)
    goes_on.set()
    assert done.wait(10)


def test_an_interpreter_that_starts_no_threads_still_connects(pair, monkeypatch):
    near, _ = pair

    def refuse(*_, **__):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(deadlines.threading, "Thread", refuse)
    with limited_time(1.0):
        assert connect_in_time(lambda: near).fileno() == near.fileno()
