"""Async views: start a run from JSON, and send its progress as server-sent events. They need an ASGI server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.db import transaction
from django.http import JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET, require_POST

from scrape_do_celery import RunHandle, RunNotFoundError, aenqueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.http import HttpRequest, HttpResponse


# Django has no transaction around an async view, so it refuses one under ATOMIC_REQUESTS.
@transaction.non_atomic_requests
@require_POST
async def start(request: HttpRequest) -> HttpResponse:
    """Start a run with the URLs of a JSON list."""
    try:
        handle = await aenqueue(json.loads(request.body))
    except ValueError as error:
        return JsonResponse({"error": str(error)}, status=400)
    return JsonResponse({"run_id": handle.run_id}, status=202)


@transaction.non_atomic_requests
@require_GET
async def events(request: HttpRequest, run_id: str) -> HttpResponse:  # noqa: ARG001
    """Send each change of a run, until the run has ended."""
    handle = RunHandle(run_id)
    try:
        await handle.astatus()
    except RunNotFoundError:
        return JsonResponse({"error": "no such run"}, status=404)
    return StreamingHttpResponse(
        progress_events(handle), content_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


async def progress_events(handle: RunHandle) -> AsyncIterator[str]:
    """Yield an event for each changed status. The page's script: `new EventSource(url).onmessage = ...`."""
    async for status in handle.aiter_status():
        yield f"data: {json.dumps(status.to_json())}\n\n"
