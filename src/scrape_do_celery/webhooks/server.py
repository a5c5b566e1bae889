"""Receive webhooks in a process of its own, on aiohttp's server: `scrape-do webhook`."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from scrape_do_celery.webhooks.async_calls import answer_call
from scrape_do_celery.webhooks.core import list_headers

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds for the head of a call, from the start of its connection or from the last answer. Slower senders are cut off.
_HEAD_SECONDS: Final = 15.0
#: Seconds for which the rest of a body is read and dropped after an answer, so that its sender can read the answer.
_LINGER_SECONDS: Final = 5.0
#: Seconds for the calls that are in progress when the server is stopped.
_STOP_SECONDS: Final = 10.0
#: Connections that wait to be accepted, at most.
_BACKLOG: Final = 1_024
#: aiohttp's errors about calls that are no proper HTTP show the line at fault, which may be the path or the secret.
#: Anybody may send such calls, so they are not logged.
_silent_log: Final = logging.Logger(__name__, logging.CRITICAL)  # noqa: LOG001 (no configuration may turn it on)


async def serve(host: str, port: int, announce: Callable[[str], object]) -> None:
    """Answer calls until SIGINT or SIGTERM. Then end the calls in progress.

    Args:
        host: the address to listen on.
        port: the port to listen on; 0 for a free port.
        announce: called with the URL of the server when it answers.

    Raises:
        OSError: the address or the port cannot be used.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for which in (signal.SIGINT, signal.SIGTERM):
        # Windows has no handlers of loops.
        with suppress(NotImplementedError):
            loop.add_signal_handler(which, stop.set)
    runner = web.ServerRunner(
        # `DeliveryIntake` decompresses within its limit, and no log shows the token in a path, nor the secret.
        web.Server(
            _answer,
            access_log=None,
            logger=_silent_log,
            auto_decompress=False,
            keepalive_timeout=_HEAD_SECONDS,
            lingering_time=_LINGER_SECONDS,
        ),
        shutdown_timeout=_STOP_SECONDS,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        announce(_spell_url(*runner.addresses[0]))
        await stop.wait()
    finally:
        await runner.cleanup()


async def _read_body(request: web.BaseRequest) -> bytes:
    """Return the next bytes of the body. If its sender waits for leave to send the body, give leave."""
    if request.headers.get("Expect", "").lower() == "100-continue" and not request.content.total_bytes:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    return await request.content.readany()


def _spell_url(host: str, port: int, *_: object) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


async def _answer(request: web.BaseRequest) -> web.Response:
    answer = await answer_call(
        request.method, request.rel_url.raw_path, request.headers.items(), partial(_read_body, request)
    )
    body = answer.text.encode()
    return web.Response(status=answer.status, body=body, headers=dict(list_headers(answer, body)))
