from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest

from scrape_do_sandbox.calls import Call
from scrape_do_sandbox.request_log import RequestLog
from scrape_do_sandbox.spec import ApiError
from scrape_do_sandbox.timers import Clock, Timers
from scrape_do_sandbox.wire import Request, Response, read_request


def test_timers_call_what_is_due_in_order():
    clock, done = Clock(lambda: 0.0), []
    timers = Timers(clock)
    for when in (2.0, 1.0, 100.0):
        timers.call_at(when, partial(done.append, when))
    assert timers.do_due() == 1.0
    clock.advance(2)
    assert (timers.do_due(), done) == (60.0, [1.0, 2.0])
    timers.clear()
    assert timers.do_due() == 60.0


def test_timers_wake_for_new_events_and_clock_moves():
    async def scenario():
        clock, done = Clock(lambda: 0.0), asyncio.Event()
        timers = Timers(clock)
        running = asyncio.create_task(timers.run())
        await asyncio.sleep(0)
        timers.call_at(50.0, done.set)
        await asyncio.sleep(0)
        clock.advance(50)
        timers.wake()
        async with asyncio.timeout(5):
            await done.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def test_the_request_log_numbers_and_counts(tmp_path):
    request_log = RequestLog(str(tmp_path / "log"))
    first = request_log.open(Call("POST", "/api/v1/jobs", "create_job", token="f", targets=("https://a.example",)), 0.0)
    request_log.open(Call("GET", "/api/v1/me", "me"), 1.0)
    first.job_id, first.options = "j", {"Super": True}
    request_log.close(first, 201)
    log = request_log.since(0)
    assert [entry["index"] for entry in log] == [1, 2]
    assert (log[0]["targets"], log[0]["job_id"], log[0]["options"]) == (["https://a.example"], "j", {"Super": True})
    assert request_log.since(1) == log[1:]
    assert request_log.since(7) == []
    assert log[1]["status"] is None
    assert request_log.stats() == {"requests": 1, "answers": {"create_job": {"201": 1}}}
    request_log.shut()
    assert json.loads((tmp_path / "log").read_text()) == log[0]


def test_a_cleared_request_log_knows_what_is_still_open():
    request_log = RequestLog()
    request_log.counts.update(connections=3, connections_open=2)
    request_log.close(request_log.open(Call("GET", "", "me"), 0.0), "reset")
    request_log.clear()
    assert request_log.stats() == {"requests": 0, "answers": {}, "connections_open": 2}
    assert request_log.since(0) == []
    request_log.shut()


class Sink:
    def __init__(self):
        self.sent = b""

    def write(self, data):
        self.sent += data


def read(data):
    async def scenario():
        reader, sink = asyncio.StreamReader(limit=1024), Sink()
        reader.feed_data(data)
        reader.feed_eof()
        return await read_request(reader, sink), sink.sent

    return asyncio.run(scenario())


def test_a_request_is_read():
    request, sent = read(b"POST /a?b=c HTTP/1.1\r\nX-Token:  t \r\nContent-Length: 2\r\nConnection: Close\r\n\r\nhi")
    assert (request.method, request.path, request.query, request.body) == ("POST", "/a", "b=c", b"hi")
    assert request.headers["x-token"] == "t"
    assert request.keep_alive is False
    assert sent == b""


def test_expect_100_is_answered_with_continue():
    request, sent = read(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx")
    assert request.body == b"x"
    assert sent == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_the_end_of_a_connection_is_no_request():
    assert read(b"")[0] is None
    assert read(b"GET / HT")[0] is None


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
def test_unreadable_request_is_refused(head, status):
    with pytest.raises(ApiError) as caught:
        read(head)
    assert caught.value.status == status


def test_an_answer_is_written():
    answer = Response.json_response(200, {"a": "é"})
    assert answer.encode("now", keep_alive=False) == (
        b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: application/json\r\nContent-Length: 10\r\n"
        b'Connection: close\r\n\r\n{"a":"\xc3\xa9"}'
    )
    assert b"599 Unknown" in Response(599).encode("now")
    assert Request("GET", "/", {}).keep_alive is True
