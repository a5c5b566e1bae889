from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from scrape_do_sandbox.spec import targets_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_sandbox.wire import Request

Kind = Literal["create_job", "get_job", "get_task", "list_jobs", "cancel_job", "me", "webhook", "other"]
PREFIX = "/api/v1/"
_FINGERPRINT = 12


@dataclass(slots=True)
class Call:
    """A request or a webhook, with the fields that fault rules match and the log shows."""

    method: str
    path: str
    kind: Kind
    job_id: str = ""
    task_id: str = ""
    token: str = ""
    targets: tuple[str, ...] = ()
    applied: list[str] = field(default_factory=list)


def read_call(request: Request, find_targets: Callable[[str, str], tuple[str, ...]]) -> Call:
    """Return the call that a request makes: its endpoint, ids, targets and the fingerprint of its token.

    Args:
        request: The request.
        find_targets: Returns the targets of a job id and of a task id, which may be empty.
    """
    kind, ids = _route(request.method, request.path)
    job_id, task_id = (*ids, "", "")[:2]
    call = Call(request.method, request.target, kind, job_id, task_id, fingerprint(request.headers.get("x-token", "")))
    call.targets = targets_of(request.body) if kind == "create_job" else find_targets(job_id, task_id)
    return call


def fingerprint(token: str) -> str:
    """Return the text that stands for a token in the log, so that the log never holds a token."""
    return hashlib.sha256(token.encode()).hexdigest()[:_FINGERPRINT] if token else ""


def _route(method: str, path: str) -> tuple[Kind, list[str]]:
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
