"""Test publications that end within a deadline."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import wait
from contextvars import ContextVar

import pytest
from celery import Celery, signals
from kombu import Producer
from kombu.exceptions import OperationalError

from scrape_do_celery.runs.publishing import DeadlineProducer, _PublishingThreads
from scrape_do_celery.runs.stand_in_producers import CallProducer
from tests.support.time_limits import limit_time

place = ContextVar("place", default="nowhere")


@pytest.fixture
def app():
    with Celery("shop", set_as_current=False, broker="memory://localhost") as one:
        yield one
        # All apps of a process share the queues in memory.
        with one.connection_for_write() as connection:
            connection.default_channel.queue_delete("shop")


@pytest.fixture
def producer(app):
    one = DeadlineProducer(app, 0.3)
    yield one
    one.close()


@pytest.fixture
def slow(monkeypatch):
    """Return an event: until it is set, the broker takes no message."""
    answers, publish = threading.Event(), Producer.publish

    def wait_and_publish(self, *args, **options):
        assert answers.wait(20)
        return publish(self, *args, **options)

    monkeypatch.setattr(Producer, "publish", wait_and_publish)
    yield answers
    answers.set()


def send(app, producer):
    return app.send_task("work", producer=producer, ignore_result=True, queue="shop")


def count_messages(app):
    with app.connection_for_read() as connection:
        return connection.default_channel.queue_declare("shop").message_count


def test_a_message_is_published_with_the_context_of_its_caller(app, producer, monkeypatch):
    seen, publish = [], Producer.publish

    def note(self, *args, **options):
        seen.append((threading.current_thread().name, place.get()))
        return publish(self, *args, **options)

    monkeypatch.setattr(Producer, "publish", note)
    place.set("shop")
    send(app, producer)
    send(app, producer)
    assert count_messages(app) == 2
    assert seen == [("scrape-do-publisher", "shop")] * 2


def test_signals_are_sent_by_the_calling_thread(app, producer):
    seen = []

    def receive(**_):
        seen.append(threading.current_thread())

    signals.before_task_publish.connect(receive)
    signals.after_task_publish.connect(receive)
    send(app, producer)
    signals.before_task_publish.disconnect(receive)
    signals.after_task_publish.disconnect(receive)
    assert seen == [threading.current_thread()] * 2


def test_the_caller_leaves_a_broker_that_does_not_answer(app, producer, slow, eventually):
    with pytest.raises(OperationalError, match=r"did not answer within 0\.3 s"):
        send(app, producer)
    with limit_time(0.3), pytest.raises(OperationalError, match="did not answer a moment ago"):
        send(app, producer)
    time.sleep(0.3)
    # Only one caller tries the broker again.
    with pytest.raises(OperationalError, match="did not answer within"):
        send(app, producer)
    slow.set()
    # The late messages arrive after all, and the next callers publish at once.
    eventually(lambda: count_messages(app) == 2)
    send(app, producer)
    assert count_messages(app) == 3


@pytest.fixture
def silent_address():
    """Return an address that accepts connections, and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("url", ["amqp://guest:guest@{}//", "redis://{}/1"])
def test_a_socket_that_times_out_before_the_caller_counts_as_silence(silent_address, monkeypatch, url):
    start = _PublishingThreads.start

    def start_and_pause(self, function):
        """Give the caller no time until its thread has ended, as a busy machine may do."""
        answer = start(self, function)
        wait([answer], 20)
        return answer

    monkeypatch.setattr(_PublishingThreads, "start", start_and_pause)
    app = Celery("shop", set_as_current=False, broker=url.format(silent_address))
    producer = DeadlineProducer(app, 0.3)
    with pytest.raises(OperationalError, match=r"(?i)timed out|timeout"):
        send(app, producer)
    with pytest.raises(OperationalError, match="did not answer a moment ago"):
        send(app, producer)
    producer.close()


def test_an_error_of_the_broker_reaches_the_caller(app, producer, monkeypatch):
    def refuse(self, *_, **__):
        raise TimeoutError("the socket")

    monkeypatch.setattr(Producer, "publish", refuse)
    # A loaded machine starts the thread late.
    producer._timeout = 20
    for _ in range(2):
        with pytest.raises(TimeoutError, match="the socket"):
            send(app, producer)


def test_threads_without_work_end_but_for_some(app, producer, slow, eventually):
    # Producers of other tests in this process keep threads too.
    others = set(threading.enumerate())
    callers = [threading.Thread(target=producer.publish, args=({},), kwargs={"routing_key": "shop"}) for _ in range(8)]
    producer._timeout = 20
    for caller in callers:
        caller.start()
    slow.set()
    for caller in callers:
        caller.join()

    def count():
        return sum(thread.name == "scrape-do-publisher" for thread in {*threading.enumerate()} - others)

    eventually(lambda: count() <= 4)
    producer.close()
    eventually(lambda: count() == 0)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h/1", {"socket_timeout": 3.0, "socket_connect_timeout": 3.0}),
        ("amqp://h//", {"read_timeout": 3.0, "write_timeout": 3.0}),
        ("memory://", {}),
    ],
)
def test_sockets_of_known_transports_time_out(url, options):
    app = Celery("shop", set_as_current=False, broker=url)
    assert DeadlineProducer(app, 3.0).connection.transport_options == options
    own = dict.fromkeys(options, 9)
    app.conf.broker_transport_options = own
    assert DeadlineProducer(app, 3.0).connection.transport_options == own


def test_a_queue_is_declared_within_the_deadline(app, producer, monkeypatch):
    app.conf.result_backend = "rpc://"
    stand_in = CallProducer(producer, lambda body, _: body)
    app.backend.on_task_call(stand_in, "id")
    with app.connection_for_read() as connection:
        assert connection.default_channel.queue_declare(app.thread_oid, passive=True).message_count == 0
        connection.default_channel.queue_delete(app.thread_oid)

    def hang(*_, **__):
        time.sleep(5)

    monkeypatch.setattr("scrape_do_celery.runs.publishing.maybe_declare", hang)
    with limit_time(4):
        app.backend.on_task_call(stand_in, "id")


def test_sockets_of_sentinels_time_out_beside_the_app_s_own_options():
    app = Celery("shop", set_as_current=False, broker="sentinel://h/1")
    app.conf.broker_transport_options = {"master_name": "main", "sentinel_kwargs": {"password": "secret"}}
    options = DeadlineProducer(app, 3.0).connection.transport_options
    assert (options["master_name"], options["socket_timeout"]) == ("main", 3.0)
    asked = options["sentinel_kwargs"]
    assert (asked["password"], asked["socket_timeout"], asked["socket_connect_timeout"]) == ("secret", 1.0, 1.0)


def test_a_retried_callback_takes_another_producer(producer):
    assert producer.revive(producer.connection) is None
    assert CallProducer(producer, lambda body, _: body).revive(producer.connection) is None
