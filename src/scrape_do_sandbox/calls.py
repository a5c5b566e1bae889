"""Requests of the API, and the fields of a call that fault rules match and the log shows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from aiohttp.web import HTTPRequestEntityTooLarge

from scrape_do_sandbox.spec import ApiError, targets_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

Kind = Literal["create_job", "get_job", "get_task", "list_jobs", "cancel_job", "me", "webhook", "other"]
PREFIX = "/api/v1/"
_FINGERPRINT = 12


@dataclass(slots=True)
class ApiRequest:
    """A request with its body. `target` is the path with its query."""

    kind: Kind
    method: str
    target: str
    token: str = ""
    job_id: str = ""
    task_id: str = ""
    body: bytes = b""

    @property
    def query(self) -> str:
        """The text after the question mark."""
        return self.target.partition("?")[2]


@dataclass(slots=True)
class ApiCall:
    """A request or a webhook, with the fields that fault rules match and the log shows."""

    method: str
    path: str
    kind: Kind
    job_id: str = ""
    task_id: str = ""
    token: str = ""
    targets: tuple[str, ...] = ()
    applied: list[str] = field(default_factory=list)


async def read_request(request: web.BaseRequest) -> ApiRequest:
    """Read the body of a request, and take its kind and its ids from its path.

    Raises:
        ApiError: 413, if the body is too large.
        ConnectionError: If the client leaves before it has sent the whole body.
    """
    target = request.raw_path
    kind, ids = _find_route(request.method, target.partition("?")[0])
    job_id, task_id = (*ids, "", "")[:2]
    token = request.headers.get("X-Token", "").strip()
    body = await _read_body(request) if request.body_exists else b""
    return ApiRequest(kind, request.method, target, token, job_id, task_id, body)


async def _read_body(request: web.BaseRequest) -> bytes:
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Else aiohttp would believe that the answer has begun.
        request.writer.output_size = 0
    try:
        return await request.read()
    except HTTPRequestEntityTooLarge:
        raise ApiError(413, "Request body is too large") from None


def _find_route(method: str, path: str) -> tuple[Kind, list[str]]:
    if not path.startswith(PREFIX):
        return "other", []
    first, *ids = path[len(PREFIX) :].split("/")
    if (method, first, ids) == ("GET", "me", []):
        return "me", []
    return (_KINDS.get((method, len(ids)), "other"), ids) if first == "jobs" else ("other", [])


_KINDS: dict[tuple[str, int], Kind] = {
    ("POST", 0): "create_job",
    ("GET", 0): "list_jobs",
    ("GET", 1): "get_job",
    ("DELETE", 1): "cancel_job",
    ("GET", 2): "get_task",
}


def read_call(request: ApiRequest, find_targets: Callable[[str, str], tuple[str, ...]]) -> ApiCall:
    """Return the call that a request makes: its endpoint, ids, targets and the fingerprint of its token.

    Args:
        request: The request.
        find_targets: Returns the targets of a job id and of a task id, which may be empty.
    """
    call = ApiCall(
        request.method, request.target, request.kind, request.job_id, request.task_id, make_fingerprint(request.token)
    )
    if request.kind == "create_job":
        call.targets = targets_of(request.body)
    elif request.job_id:
        call.targets = find_targets(request.job_id, request.task_id)
    return call


@lru_cache(maxsize=1_000)
def make_fingerprint(token: str) -> str:
    """Return the text that stands for a token in the log, so that the log never holds a token."""
    return hashlib.sha256(token.encode()).hexdigest()[:_FINGERPRINT] if token else ""
