"""Answer calls in an event loop. Senders cannot block the loop, nor exceed a time and a memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from scrape_do_celery.webhooks.core import Answer
from scrape_do_celery.webhooks.service import find_service, put_off

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from celery import Celery

    from scrape_do_celery.webhooks.core import DeliveryIntake
    from scrape_do_celery.webhooks.service import WebhookService

#: Seconds for the body of a call. A slower delivery becomes a hint.
BODY_SECONDS: Final = 30.0


async def answer_call(  # noqa: PLR0913 (the parts of a call)
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]],
    read: Callable[[], Awaitable[bytes]],
    *,
    app: Celery | None = None,
    body_seconds: float = BODY_SECONDS,
) -> Answer:
    """Carry out a call, and return its answer. Raise nothing. `read` returns the next bytes of the body."""
    try:
        # On this thread: another thread may not know the current Celery app.
        service = find_service(app)
        judged = service.judge_call(method, path, headers)
        if isinstance(judged, Answer):
            return judged
        return await _take_call(service, judged, read, body_seconds)
    except Exception as error:  # noqa: BLE001 (each other status than 503 may end the webhook)
        return put_off(error)


async def _take_call(
    service: WebhookService, intake: DeliveryIntake, read: Callable[[], Awaitable[bytes]], body_seconds: float
) -> Answer:
    loop = asyncio.get_running_loop()
    until = loop.time() + body_seconds
    held = 0
    try:
        while intake.wants_more and (chunk := await _read_chunk(read, until)):
            if intake.is_compressed:
                # A few bytes may expand to the largest body.
                await loop.run_in_executor(service.threads, intake.take_chunk, chunk)
            else:
                intake.take_chunk(chunk)
            has_room, held = service.room.take(intake.held - held), intake.held
            if not has_room:
                intake.drop_body()
        return await loop.run_in_executor(service.threads, service.end_call, intake)
    finally:
        service.room.take(-held)


async def _read_chunk(read: Callable[[], Awaitable[bytes]], until: float) -> bytes:
    """Return the next bytes of a body; nothing after its end, and if the sender is too slow or gone.

    The URL of the call was valid, so the delivery is a hint at least.
    """
    try:
        async with asyncio.timeout_at(until):
            return await read()
    except Exception:  # noqa: BLE001 (servers and frameworks have errors of their own)
        return b""
