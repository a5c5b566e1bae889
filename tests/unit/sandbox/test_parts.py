from __future__ import annotations

import asyncio
import json
from functools import partial

from scrape_do_sandbox.calls import ApiCall
from scrape_do_sandbox.request_log import RequestLog
from scrape_do_sandbox.timers import SandboxClock, Timers
from scrape_do_sandbox.views import body_of, json_response


def test_timers_call_what_is_due_in_order():
    clock, done = SandboxClock(lambda: 0.0), []
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
        clock, done = SandboxClock(lambda: 0.0), asyncio.Event()
        timers = Timers(clock)
        running = asyncio.create_task(timers.run_forever())
        await asyncio.sleep(0)
        timers.call_at(50.0, done.set)
        await asyncio.sleep(0)
        clock.advance(50)
        timers.wake_up()
        async with asyncio.timeout(5):
            await done.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def test_the_request_log_numbers_and_counts(tmp_path):
    request_log = RequestLog(str(tmp_path / "log"))
    first = request_log.open_entry(
        ApiCall("POST", "/api/v1/jobs", "create_job", token="f", targets=("https://a.example",)), 0.0
    )
    request_log.open_entry(ApiCall("GET", "/api/v1/me", "me"), 1.0)
    first.job_id, first.options = "j", {"Super": True}
    request_log.close_entry(first, 201)
    log = request_log.list_since(0)
    assert [entry["index"] for entry in log] == [1, 2]
    assert (log[0]["targets"], log[0]["job_id"], log[0]["options"]) == (["https://a.example"], "j", {"Super": True})
    assert request_log.list_since(1) == log[1:]
    assert request_log.list_since(7) == []
    assert log[1]["status"] is None
    assert request_log.count_all() == {"requests": 1, "answers": {"create_job": {"201": 1}}}
    request_log.close_file()
    assert json.loads((tmp_path / "log").read_text()) == log[0]


def test_a_cleared_request_log_is_empty():
    request_log = RequestLog()
    request_log.counts.update(connections=3)
    request_log.close_entry(request_log.open_entry(ApiCall("GET", "", "me"), 0.0), "reset")
    request_log.clear()
    assert request_log.count_all() == {"requests": 0, "answers": {}}
    assert request_log.list_since(0) == []
    request_log.close_file()


def test_json_keeps_what_utf_8_cannot():
    answer = json_response(200, {"a": "\u00e9\ud800"})
    assert body_of(answer) == b'{"a":"\xc3\xa9?"}'
    assert answer.headers["Content-Type"] == "application/json"
