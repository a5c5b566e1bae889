"""Serve the sandbox: on a socket, on a thread for tests, or in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from scrape_do_sandbox.app import SandboxApp
from scrape_do_sandbox.control import PREFIX, ControlEndpoints
from scrape_do_sandbox.control_client import SandboxControl
from scrape_do_sandbox.options import SandboxOptions
from scrape_do_sandbox.transport_faults import CallHandler

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage

    from scrape_do_sandbox.timers import SandboxClock

READY = "scrape-do sandbox listening on "
_BACKLOG = 1024
_MAX_BODY = 32 * 1024 * 1024
_SETTINGS: dict[str, Any] = {"access_log": None, "max_line_size": 64 * 1024, "max_field_size": 64 * 1024}
#: Seconds that answers under way get when the sandbox stops. aiohttp would wait forever with 0.
_SHUTDOWN = 0.01
_PARENT_CHECK = 0.5


class SandboxServer:
    """The sandbox on a socket. All of its work runs on the event loop that calls `start`."""

    def __init__(self, options: SandboxOptions | None = None, clock: SandboxClock | None = None) -> None:
        self.app = SandboxApp(options or SandboxOptions(), clock)
        self._calls = CallHandler(self.app)
        self.url = ""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen on a port, and set `url` to the address."""
        self._protocols = web.Server(self._handle_request, request_factory=_make_request, **_SETTINGS)
        self._controls = ControlEndpoints(self.app, lambda: len(self._protocols.connections))
        self._listener = await asyncio.get_running_loop().create_server(
            self._make_protocol, host, port, backlog=_BACKLOG
        )
        self._timers = asyncio.create_task(self.app.timers.run_forever())
        address = self._listener.sockets[0].getsockname()
        self.url = f"http://[{address[0]}]:{address[1]}" if ":" in address[0] else f"http://{address[0]}:{address[1]}"

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        self._listener.close()
        self._timers.cancel()
        await asyncio.gather(self._timers, self._protocols.shutdown(_SHUTDOWN), return_exceptions=True)
        await self.app.close()

    def _make_protocol(self) -> asyncio.BaseProtocol:
        self.app.request_log.counts["connections"] += 1
        return self._protocols()

    async def _handle_request(self, request: web.BaseRequest) -> web.StreamResponse:
        # aiohttp's router would make each call a tenth slower.
        handler = self._controls if request.raw_path.startswith(PREFIX) else self._calls
        return await handler.handle_request(request)


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_MAX_BODY)


class SandboxThread(SandboxControl):
    """A sandbox on a thread of this process, for tests; starts fast, and has the controls of `SandboxProcess`."""

    def __init__(self, **options: Any) -> None:
        self._server = SandboxServer(SandboxOptions.model_validate(options))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run_loop, name="scrape-do-sandbox", daemon=True)

    def _run_loop(self) -> None:
        asyncio.run(self._serve_until_stopped())

    async def _serve_until_stopped(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        await self._server.start()
        self.url = self._server.url
        self._ready.set()
        await self._over.wait()
        await self._server.stop()

    def stop(self) -> None:
        """Stop the sandbox and wait for its end."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


async def serve_until_stopped(host: str, port: int, options: SandboxOptions, *, parent_pid: int | None = None) -> None:
    """Serve until SIGTERM, SIGINT or the end of the parent; print one line when ready."""
    server, over = SandboxServer(options), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await server.start(host, port)
    sys.stdout.write(f"{READY}{server.url}\n")
    sys.stdout.flush()
    # Poll the parent. PR_SET_PDEATHSIG fires when the starting *thread* ends, which may be long before its process
    # does.
    while not over.is_set() and parent_pid in {None, os.getppid()}:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), _PARENT_CHECK)
    await server.stop()


def run(host: str = "127.0.0.1", port: int = 0, *, parent_pid: int | None = None, **options: object) -> int:
    """Serve in the foreground with the options of `SandboxOptions`, and return the exit code.

    Raises:
        pydantic.ValidationError: If an option is unknown or a value is not valid.
    """
    asyncio.run(serve_until_stopped(host, port, SandboxOptions.model_validate(options), parent_pid=parent_pid))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: `--host`, `--port` and one flag for each option."""
    values = vars(_make_parser().parse_args(argv))
    return run(
        values.pop("host"), values.pop("port"), **{name: value for name, value in values.items() if value is not None}
    )


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scrape-do sandbox", description="Serve a local Async API, without a token and without cost."
    )
    parser.add_argument("--host", default="127.0.0.1", help="Listen on this address.")
    parser.add_argument("--port", type=int, default=0, help="Listen on this port; 0 selects a free port.")
    parser.add_argument("--parent-pid", type=int, help=argparse.SUPPRESS)
    for name, field in SandboxOptions.model_fields.items():
        if field.annotation is bool:
            parser.add_argument(_flag_of(name), action="store_true", default=None, help=field.description)
        elif name != "webhook_ladder":
            parser.add_argument(_flag_of(name), help=field.description)
    return parser


def _flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"
