"""The bodies of answers, and answers in JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.hdrs import CONTENT_TYPE

from scrape_do_sandbox.jobs import TERMINAL
from scrape_do_sandbox.timers import format_time
from scrape_do_sandbox.url_writers import write_url

if TYPE_CHECKING:
    from scrape_do_sandbox.account import CreditLedger
    from scrape_do_sandbox.jobs import Job, Task

_ACTIVE = frozenset({"pending", "rotating"})
JSON_TYPE = "application/json"
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode_json(data: Any) -> bytes:
    """Return a value as the API writes it."""
    return _JSON.encode(data).encode("utf-8", "replace")


def json_response(status: int, data: Any) -> web.Response:
    """Return an answer in JSON."""
    return web.Response(status=status, body=encode_json(data), headers={CONTENT_TYPE: JSON_TYPE})


def body_of(answer: web.Response) -> bytes:
    """Return the bytes of an answer."""
    return answer.body if isinstance(answer.body, bytes) else b""


def created_body(job: Job) -> dict[str, Any]:
    """Return the answer to `POST /jobs`."""
    return {"JobID": job.id, "TaskIDs": [task.id for task in job.tasks], "Message": "Job created"}


def summary_body(job: Job, now: float) -> dict[str, Any]:
    """Return a job as an entry of a trimmed list."""
    return {
        "JobID": job.id,
        "TaskIDs": [task.id for task in job.tasks],
        "Status": job.status(now),
        "StartTime": _format_optional(job.shown_start(now)),
        "EndTime": _format_optional(job.shown_end(now)),
    }


def job_body(job: Job, now: float) -> dict[str, Any]:
    """Return the answer to `GET` and `DELETE` of a job."""
    tasks = [
        {"TaskID": task.id, "URL": write_url(task.url, job.writer), "Status": task.status(now)} for task in job.tasks
    ]
    return summary_body(job, now) | {
        "AcquiredConcurrency": sum(task["Status"] in _ACTIVE for task in tasks),
        "LimitConcurrency": 0,
        "Canceled": job.canceled,
        "Tasks": tasks,
    }


def task_body(task: Task, now: float, ledger: CreditLedger) -> dict[str, Any]:
    """Return the answer to `GET` of a task, which is also the body of its webhook."""
    ledger.remaining(now)
    status = task.status(now)
    ended = task.ended_at if status in TERMINAL else None
    started = task.start if task.start <= min(now, task.job.canceled_at) else None
    return {
        "TaskID": task.id,
        "JobID": task.job.id,
        "URL": write_url(task.url, task.job.writer),
        "Status": status,
        "StartTime": _format_optional(started),
        "EndTime": _format_optional(ended),
        "UpdateTime": _format_optional(ended or started or task.job.created),
        "ExpiresAt": format_time(task.job.expires),
        **(_outcome_of(task) if status in {"success", "error"} else _empty_outcome()),
        **_webhook_fields(task),
        "TraceID": f"tr-{task.id[:8]}",
    }


def content_hash(task: Task, now: float) -> str | None:
    """Return the SHA-256 of the decoded content, or None unless the task has succeeded."""
    if task.status(now) != "success":
        return None
    return hashlib.sha256(task.page().body).hexdigest()


def _empty_outcome() -> dict[str, Any]:
    return {
        "Base64EncodedContent": False,
        "StatusCode": 0,
        "ResponseHeaders": {},
        "Scrape.do": {},
        "Content": "",
        "ErrorMessage": "",
    }


def _outcome_of(task: Task) -> dict[str, Any]:
    page = task.page()
    return {
        "Base64EncodedContent": not page.text,
        "StatusCode": page.status_code,
        "ResponseHeaders": page.headers,
        "Scrape.do": {
            "Request-Cost": str(task.cost),
            "Remaining-Credits": str(task.remaining),
            "Request-Id": f"rq-{task.id[:8]}",
            **({"Resolved-Url": page.resolved} if page.resolved else {}),
        },
        "Content": page.body.decode() if page.text else base64.b64encode(page.body).decode(),
        "ErrorMessage": page.error,
    }


def _webhook_fields(task: Task) -> dict[str, Any]:
    url = task.job.spec.options.get("WebhookURL")
    if not url:
        return {}
    hook = task.webhook
    return {"WebhookURL": url, "WebhookStatus": hook.status, "WebhookRequestTime": _format_optional(hook.requested)}


def _format_optional(moment: float | None) -> str | None:
    return None if moment is None else format_time(moment)
