"""Answer calls over HTTP, with the faults of a connection: resets, answers that never come, cut and slow bodies."""

from __future__ import annotations

import asyncio
import socket
import struct
from email.utils import formatdate
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.hdrs import CONTENT_LENGTH, DATE

from scrape_do_sandbox.calls import read_call, read_request
from scrape_do_sandbox.response_faults import apply_header_faults, fault_response
from scrape_do_sandbox.spec import ApiError
from scrape_do_sandbox.views import body_of, json_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_sandbox.app import SandboxApp
    from scrape_do_sandbox.calls import ApiRequest
    from scrape_do_sandbox.faults import FaultRule
    from scrape_do_sandbox.request_log import LogEntry

_LINGER_ZERO = struct.pack("ii", 1, 0)
#: Seconds between two checks of a connection whose client waits for an answer that never comes.
_LOOK = 0.02


class CallHandler:
    """The HTTP side of the API's endpoints. Entries of the log are closed before their answer is sent."""

    def __init__(self, app: SandboxApp) -> None:
        self._app = app

    async def handle_request(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request of the API."""
        try:
            return await self._answer_call(request, await read_request(request))
        except ApiError as error:
            return json_response(error.status, error.body())
        except ConnectionError:
            # The client has left. Without an answer, aiohttp would log an error.
            return web.Response()

    async def _answer_call(self, request: web.BaseRequest, read: ApiRequest) -> web.StreamResponse:
        call = read_call(read, self._app.state.find_targets)
        entry = self._app.request_log.open_entry(call, self._app.clock.now())
        rules = self._app.faults.find_firing(call)
        if rules:
            return await self._answer_with_faults(request, read, entry, rules)
        return self._finish_entry(entry, self._app.answer_call(read, entry), self._skew_of(entry, rules))

    async def _answer_with_faults(
        self, request: web.BaseRequest, read: ApiRequest, entry: LogEntry, rules: Sequence[FaultRule]
    ) -> web.StreamResponse:
        by_action, skew = {rule.action: rule for rule in rules}, self._skew_of(entry, rules)
        if "reset_before" in by_action:
            return self._reset_connection(request, entry)
        if "accept_late" in by_action:
            return await self._accept_late(request, read, entry, rules)
        answer = fault_response(rules, self._age_of(entry)) or self._app.answer_call(read, entry, rules)
        apply_header_faults(answer, rules)
        if early := by_action.get("webhook_early"):
            job = self._app.state.find_job(entry.job_id)
            await self._app.webhooks.wait_for_deliveries(job, early.count, early.seconds)
        if "slow" in by_action:
            await asyncio.sleep(by_action["slow"].seconds)
        if "reset_after" in by_action:
            return self._reset_connection(request, entry)
        if "cut" in by_action:
            return await _cut_body(request, self._finish_entry(entry, answer, skew, "cut"))
        self._finish_entry(entry, answer, skew)
        return await _drip_body(request, answer, by_action["drip"].seconds) if "drip" in by_action else answer

    def _finish_entry(self, entry: LogEntry, answer: web.Response, skew: float, answered: str = "") -> web.Response:
        # Close the entry first: a client that has its answer must find the request in the log.
        self._app.request_log.close_entry(entry, answered or answer.status)
        answer.headers[DATE] = _http_date(int(self._app.clock.now() + skew))
        return answer

    def _skew_of(self, entry: LogEntry, rules: Sequence[FaultRule]) -> float:
        """Return the seconds by which `Date` is ahead.

        With `date_skew`, only every second answer is ahead, as from two servers behind one address.
        """
        skew = self._app.options.date_skew * (entry.index % 2)
        skew += sum(rule.seconds for rule in rules if rule.action == "date_skew" and rule.fired % 2 == 0)
        return skew + sum(rule.seconds for rule in rules if rule.action == "skew")

    def _age_of(self, entry: LogEntry) -> float | None:
        job = self._app.state.find_job(entry.call.job_id)
        return self._app.clock.now() - job.created if job else None

    def _reset_connection(self, request: web.BaseRequest, entry: LogEntry) -> web.Response:
        """End the connection with RST instead of an answer."""
        self._app.request_log.close_entry(entry, "reset")
        if request.transport is not None:
            sock: socket.socket = request.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            request.transport.abort()
        return web.Response()

    async def _accept_late(
        self, request: web.BaseRequest, read: ApiRequest, entry: LogEntry, rules: Sequence[FaultRule]
    ) -> web.Response:
        """Never answer; create the job later, whether or not the client is still connected."""
        rule = next(rule for rule in rules if rule.action == "accept_late")
        due = self._app.clock.now() + rule.seconds
        self._app.timers.call_at(due, partial(self._app.do_late, read, entry, rules))
        self._app.request_log.close_entry(entry, "held")
        while request.transport is not None:  # noqa: ASYNC110 - aiohttp has no event for the end of a connection
            await asyncio.sleep(_LOOK)
        return web.Response()


async def _cut_body(request: web.BaseRequest, answer: web.Response) -> web.StreamResponse:
    """Announce the length of the whole body, but send half of it."""
    body, started = body_of(answer), await _start_answer(request, answer)
    await started.write(body[: len(body) - max(1, len(body) // 2)])
    if request.transport is not None:
        request.transport.close()
    return started


async def _drip_body(request: web.BaseRequest, answer: web.Response, pause: float) -> web.StreamResponse:
    """Send the head at once and the body byte by byte."""
    body, started = body_of(answer), await _start_answer(request, answer)
    for position in range(len(body)):
        await asyncio.sleep(pause)
        await started.write(body[position : position + 1])
    return started


async def _start_answer(request: web.BaseRequest, answer: web.Response) -> web.StreamResponse:
    started = web.StreamResponse(status=answer.status, headers=answer.headers)
    started.headers.setdefault(CONTENT_LENGTH, str(len(body_of(answer))))
    await started.prepare(request)
    return started


@lru_cache(maxsize=16)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)
