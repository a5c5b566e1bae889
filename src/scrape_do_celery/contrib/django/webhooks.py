"""The views that receive webhooks. `scrape_do_celery.contrib.django.webhook_urls` has their URLs.

Under ASGI, Django stores the body of a call in a temporary file before it calls a view. So only the server before
Django limits the size of this file and the time of a slow sender. `scrape_do_celery.webhooks.asgi` limits both itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import login_not_required
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections, transaction
from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

from scrape_do_celery.webhooks import async_calls, wsgi

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest


def _open_to_all(view: Any) -> Any:
    """Return a view for callers without a session. It uses no database, so ATOMIC_REQUESTS must open no transaction."""
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return login_not_required(csrf_exempt(view))


@_open_to_all
def receive_webhook(request: HttpRequest, **_: Any) -> HttpResponse:
    """Answer a call of a webhook."""
    answer = wsgi.answer_call(str(request.method), request.path, request.headers.items(), _open_body(request))
    return HttpResponse(answer.text, "text/plain", answer.status, headers=dict(answer.headers))


@_open_to_all
async def areceive_webhook(request: HttpRequest, **_: Any) -> HttpResponse:
    """Answer a call of a webhook, in the event loop of an ASGI server."""
    read = _open_body(request)

    async def read_chunk() -> bytes:
        return read(wsgi.CHUNK)

    answer = await async_calls.answer_call(str(request.method), request.path, request.headers.items(), read_chunk)
    return HttpResponse(answer.text, "text/plain", answer.status, headers=dict(answer.headers))


def _open_body(request: HttpRequest) -> Callable[[int], bytes]:
    """Return the function that reads the body. Never read `request.body`: it has a limit, and answers 400."""
    if isinstance(request, WSGIRequest) and not request.META.get("CONTENT_LENGTH"):
        # Django takes a body in chunks, which has no length, for empty.
        return wsgi.open_body(request.environ)
    read: Callable[[int], bytes] = request.read
    return read
