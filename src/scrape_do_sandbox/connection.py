from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING

from scrape_do_sandbox import control
from scrape_do_sandbox.calls import read_call
from scrape_do_sandbox.response_faults import apply_header_faults, fault_response
from scrape_do_sandbox.spec import ApiError
from scrape_do_sandbox.wire import Response, read_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_sandbox.app import SandboxApp
    from scrape_do_sandbox.faults import Rule
    from scrape_do_sandbox.request_log import Entry
    from scrape_do_sandbox.wire import Request

_LINGER_ZERO = struct.pack("ii", 1, 0)


class Connection:
    """The connection of one client: requests are answered in turn, and transport faults happen here."""

    def __init__(
        self, app: SandboxApp, controls: control.Control, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._app = app
        self._controls = controls
        self._reader = reader
        self._writer = writer
        self._skew = 0.0

    async def serve(self) -> None:
        """Answer requests until the client, a fault or a malformed request ends the connection."""
        try:
            while (request := await read_request(self._reader, self._writer)) is not None:
                if not await self._exchange(request):
                    break
        except ApiError as error:
            self._send(Response.json_response(error.status, error.body()), keep_alive=False)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _exchange(self, request: Request) -> bool:
        """Answer a request; return whether the connection stays open."""
        if request.target.startswith(control.PREFIX):
            self._send(self._controls.answer(request), keep_alive=request.keep_alive)
            await self._writer.drain()
            return request.keep_alive
        call = read_call(request, self._app.state.find_targets)
        entry = self._app.request_log.open(call, self._app.clock.now())
        rules = self._app.faults.firing(call)
        self._skew = self._skew_of(entry, rules)
        if not rules:
            self._finish(entry, self._app.answer(request, entry), keep_alive=request.keep_alive)
            await self._writer.drain()
            return request.keep_alive
        return await self._apply_transport_fault(request, entry, rules)

    async def _apply_transport_fault(self, request: Request, entry: Entry, rules: Sequence[Rule]) -> bool:
        by_action = {rule.action: rule for rule in rules}
        if "reset_before" in by_action:
            return self._reset(entry)
        if "accept_late" in by_action:
            return await self._accept_late(request, entry, rules)
        answer = fault_response(rules, self._age(entry)) or self._app.answer(request, entry, rules)
        apply_header_faults(answer, rules)
        if "slow" in by_action:
            await asyncio.sleep(by_action["slow"].seconds)
        if "reset_after" in by_action:
            return self._reset(entry)
        if "cut" in by_action:
            return await self._cut(entry, answer)
        if "drip" in by_action:
            await self._drip(entry, answer, by_action["drip"].seconds)
        else:
            self._finish(entry, answer, keep_alive=request.keep_alive)
            await self._writer.drain()
        return request.keep_alive

    def _skew_of(self, entry: Entry, rules: Sequence[Rule]) -> float:
        """Return the seconds by which `Date` is ahead.

        With `date_skew`, only every second answer is ahead, as from two servers behind one address.
        """
        skew = self._app.options.date_skew * (entry.index % 2)
        skew += sum(rule.seconds for rule in rules if rule.action == "date_skew" and rule.fired % 2 == 0)
        return skew + sum(rule.seconds for rule in rules if rule.action == "skew")

    def _age(self, entry: Entry) -> float | None:
        job = self._app.state.find(entry.call.job_id)
        return self._app.clock.now() - job.created if job else None

    def _date(self) -> str:
        return formatdate(self._app.clock.now() + self._skew, usegmt=True)

    def _send(self, answer: Response, *, keep_alive: bool) -> None:
        self._writer.write(answer.encode(self._date(), keep_alive=keep_alive))

    def _finish(self, entry: Entry, answer: Response, *, keep_alive: bool) -> None:
        # Write the log first: a client that has its answer must find the request there.
        self._app.request_log.close(entry, answer.status)
        self._send(answer, keep_alive=keep_alive)

    def _reset(self, entry: Entry) -> bool:
        """End the connection with RST instead of an answer."""
        self._app.request_log.close(entry, "reset")
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._writer.transport.abort()
        return False

    async def _accept_late(self, request: Request, entry: Entry, rules: Sequence[Rule]) -> bool:
        """Never answer; create the job later, whether or not the client is still connected."""
        rule = next(rule for rule in rules if rule.action == "accept_late")
        due = self._app.clock.now() + rule.seconds
        self._app.timers.call_at(due, partial(self._app.do_late, request, entry, rules))
        self._app.request_log.close(entry, "held")
        await self._reader.read()
        return False

    async def _cut(self, entry: Entry, answer: Response) -> bool:
        """Announce the length of the whole body, but send half of it."""
        self._app.request_log.close(entry, "cut")
        whole = answer.encode(self._date())
        self._writer.write(whole[: len(whole) - max(1, len(answer.body) // 2)])
        await self._writer.drain()
        return False

    async def _drip(self, entry: Entry, answer: Response, pause: float) -> None:
        """Send the head at once and the body byte by byte."""
        self._app.request_log.close(entry, answer.status)
        whole = answer.encode(self._date())
        start = len(whole) - len(answer.body)
        self._writer.write(whole[:start])
        for place in range(start, len(whole)):
            await asyncio.sleep(pause)
            self._writer.write(whole[place : place + 1])
            await self._writer.drain()
