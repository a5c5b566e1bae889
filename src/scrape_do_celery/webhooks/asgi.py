"""Receive webhooks in an ASGI server: `uvicorn scrape_do_celery.webhooks.asgi:app`, or mounted in another app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.webhooks.async_calls import BODY_SECONDS, answer_call
from scrape_do_celery.webhooks.core import list_headers
from scrape_do_celery.webhooks.service import find_service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from celery import Celery

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]


class WebhookApp:
    """An ASGI app that receives webhooks. It may stand alone, or below any path.

    Args:
        app: the Celery app whose settings and store count. Without it, the app of the process counts.
        body_seconds: the seconds for the body of a call. A slower delivery becomes a hint, so its task is fetched.
    """

    def __init__(self, app: Celery | None = None, *, body_seconds: float = BODY_SECONDS) -> None:
        self._app, self._body_seconds = app, body_seconds

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve a scope of ASGI."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        answer = await answer_call(
            scope["method"],
            scope["path"],
            ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
            _BodyReader(receive).read,
            app=self._app,
            body_seconds=self._body_seconds,
        )
        body = answer.text.encode()
        headers = [(name.lower().encode(), value.encode()) for name, value in list_headers(answer, body)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        """Report wrong settings when the server starts. An app that is mounted in another one is not asked."""
        await receive()
        try:
            find_service(self._app)
        except ConfigurationError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


class _BodyReader:
    """The reader of the body of a call."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._is_over = receive, False

    async def read(self) -> bytes:
        """Return the next bytes of the body; nothing if it has ended, or if the sender is gone."""
        chunk = b""
        while not chunk and not self._is_over:
            message = await self._receive()
            chunk = message.get("body", b"")
            self._is_over = message["type"] != "http.request" or not message.get("more_body", False)
        return chunk


#: The app for a server that serves nothing else.
app: Final = WebhookApp()
