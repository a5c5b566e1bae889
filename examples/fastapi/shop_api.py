"""An API that starts runs and sends their progress as server-sent events: `uvicorn shop_api:app`.

Workers run beside it: `celery -A scrape_do_celery.worker worker`. The settings are `SCRAPE_DO_*` variables.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator  # noqa: TC003 (FastAPI reads the annotations)

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from scrape_do_celery import ResultNotReadyError, RunHandle, RunNotFoundError, StoreUnavailableError, aenqueue

app = FastAPI()


@app.exception_handler(RunNotFoundError)
async def answer_not_found(request: Request, error: RunNotFoundError) -> Response:  # noqa: ARG001
    """Answer 404 for a run that the store does not know."""
    return JSONResponse({"error": str(error)}, status_code=404)


@app.exception_handler(StoreUnavailableError)
async def answer_unavailable(request: Request, error: StoreUnavailableError) -> Response:  # noqa: ARG001
    """Answer 503 while Redis does not answer."""
    return JSONResponse({"error": str(error)}, status_code=503)


@app.post("/runs", status_code=202)
async def start(urls: list[str], request: Request) -> dict[str, str]:
    """Start a run. A client that repeats a request with the same key pays once."""
    try:
        handle = await aenqueue(urls, idempotency_key=request.headers.get("Idempotency-Key"))
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    return {"run_id": handle.run_id}


@app.get("/runs/{run_id}")
async def read(run_id: str) -> Response:
    """Return the status of a run."""
    return JSONResponse((await RunHandle(run_id).astatus()).to_json())


@app.delete("/runs/{run_id}")
async def cancel(run_id: str) -> dict[str, bool]:
    """Cancel a run."""
    return {"canceled": await RunHandle(run_id).acancel()}


@app.get("/runs/{run_id}/events")
async def follow(run_id: str) -> StreamingResponse:
    """Send each change of a run, until the run has ended."""
    handle = RunHandle(run_id)
    await handle.astatus()  # answers 404 before the stream begins
    return StreamingResponse(
        progress_events(handle), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


async def progress_events(handle: RunHandle) -> AsyncIterator[str]:
    """Yield an event for each changed status. The page's script: `new EventSource(url).onmessage = ...`."""
    async for status in handle.aiter_status():
        yield f"data: {json.dumps(status.to_json())}\n\n"


@app.get("/runs/{run_id}/pages")
async def pages(run_id: str) -> StreamingResponse:
    """Send the pages of an ended run, a line of JSON for each, with few pages in memory."""
    handle = RunHandle(run_id)
    if not (await handle.astatus()).has_ended:
        raise HTTPException(409, "the run goes on")
    return StreamingResponse(page_lines(handle), media_type="application/x-ndjson")


async def page_lines(handle: RunHandle) -> AsyncIterator[str]:
    """Yield a line for each fetched task."""
    async for task in handle.aiter_tasks():
        yield task.model_dump_json(include={"url", "status", "content"}) + "\n"


@app.get("/runs/{run_id}/result")
async def wait(run_id: str) -> dict[str, int]:
    """Wait for the end of a run for at most 30 seconds."""
    try:
        result = await RunHandle(run_id).aresult(timeout=30)
    except ResultNotReadyError as error:
        raise HTTPException(409, str(error)) from error
    return {"pages": len(result.tasks)}
