"""An API server for the lab, written from the facts of the Async API alone.

The server shares no code with product or sandbox. Jobs are sold, end by a virtual clock, and are remembered with the
pages that were served. Each answer passes a mutation on its way out.
"""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from tests.wire.messages import DUPLICATE_SUFFIX, SUCCESS_STATUSES, ApiRequest, MutableResponse

if TYPE_CHECKING:
    from collections.abc import Callable

_PREFIX = "/api/v1"
_RUNNING = ("queuing", "queued", "pending", "rotating")


@dataclass
class Job:
    """A job that was sold. Its tasks are named in another order than its targets."""

    job_id: str
    targets: list[str]
    task_ids: list[str]
    created: float
    seconds: float
    stopped: float | None = None
    #: whether the tasks show the URLs of their targets; those of a plugin show none
    shows_urls: bool = True
    webhook_url: str = ""
    webhook_headers: dict[str, str] = field(default_factory=dict)

    def target_of(self, task_id: str) -> str:
        """Return the target of a task."""
        return self.targets[::-1][self.task_ids.index(task_id)]

    def status(self, now: float) -> str:
        """Return the job's status."""
        if self.stopped is not None:
            return "canceled"
        return "success" if now >= self.ends else "pending" if now > self.created + 1 else "queued"

    def task_status(self, task_id: str, now: float) -> str:
        """Return the status of a task. The tasks end one after another."""
        ended = self.task_ends(task_id)
        if self.stopped is not None and self.stopped < ended:
            return "canceled"
        return "success" if now >= ended else "pending"

    def task_ends(self, task_id: str) -> float:
        """Return when a task ends by itself."""
        return self.created + self.seconds * (self.task_ids.index(task_id) + 1) / len(self.task_ids)

    @property
    def ends(self) -> float:
        """When the job ends by itself."""
        return self.created + self.seconds


@dataclass
class Account:
    """The account of one run: jobs, the books, and the behaviour of the server."""

    now: Callable[[], float]
    #: changes an answer; True if the mutation changed this answer
    mutate: Callable[[MutableResponse], bool] = lambda _: False
    #: answers before the request is carried out
    refuse: Callable[[ApiRequest], MutableResponse | None] = lambda _: None
    write_url: Callable[[str], str] = str
    seconds: float = 12.0
    full_list: bool = False
    tasks_named: bool = True
    forgets_after: float = 259_200.0
    jobs: dict[str, Job] = field(default_factory=dict)
    sold: Counter[tuple[str, ...]] = field(default_factory=Counter)
    #: tasks of which an answer with the right ids, status and content went out
    served: set[str] = field(default_factory=set)
    #: tasks of which an answer held the right content under the right ids, and did not deny that the task had ended
    shown: set[str] = field(default_factory=set)
    requests: Counter[str] = field(default_factory=Counter)
    touched: int = 0
    #: errors of this server: such a play proves nothing
    failures: list[str] = field(default_factory=list)

    def create_job(self, targets: list[str], created: float | None = None) -> Job:
        """Make a job."""
        ids = [str(uuid.uuid4()) for _ in targets]
        job = Job(str(uuid.uuid4()), targets, ids, self.now() if created is None else created, self.seconds)
        self.jobs[job.job_id] = job
        return job

    def answer(self, request: ApiRequest, body: bytes) -> MutableResponse:
        """Return the mutated answer to a request."""
        self.requests[request.kind] += 1
        response = self.refuse(request)
        if response is None:
            status, data = self._handle(request, body)
            response = MutableResponse(request, status, data)
        response.headers.append(("Date", format_datetime(datetime.fromtimestamp(self.now(), UTC), usegmt=True)))
        right = dict(response.data) if isinstance(response.data, dict) else {}
        self.touched += bool(self.mutate(response))
        if request.kind == "task":
            self._note(response, right)
        return response

    def _note(self, response: MutableResponse, right: dict[str, Any]) -> None:
        if (
            response.status not in SUCCESS_STATUSES
            or response.body is not None
            or response.cut is not None
            or response.unreadable
            or response.hang
        ):
            return
        data = response.data if isinstance(response.data, dict) else {}
        if not right.get("Content") or any(data.get(n) != right[n] for n in ("TaskID", "JobID", "Content")):
            return
        if data.get("Base64EncodedContent") is not False or any(name.endswith(DUPLICATE_SUFFIX) for name in data):
            return
        if data.get("Status") == right["Status"]:
            self.served.add(response.request.task_id)
        if data.get("Status") not in [*_RUNNING, "error", "canceled"]:
            self.shown.add(response.request.task_id)

    def _handle(self, request: ApiRequest, body: bytes) -> tuple[int, Any]:  # noqa: PLR0911 (one per kind)
        if request.kind == "me":
            return 200, {"TotalConcurrency": 5, "FreeConcurrency": 4, "ActiveJobs": 1, "AvaliableCredits": 1000}
        if request.kind == "create":
            return self._create(json.loads(body))
        if request.kind == "list":
            return 200, self._list(request.query)
        job = self.jobs.get(request.job_id)
        if job is None or self.now() - job.created > self.forgets_after:
            return 404, {"Error": "job not found", "Code": 404}
        if request.kind == "delete":
            if job.status(self.now()) not in _RUNNING:
                return 406, {"Error": "job has ended", "Code": 406}
            job.stopped = self.now()
            return 200, {**self._job(job), "Status": "pending"}
        if request.kind == "job":
            return 200, self._job(job)
        if request.task_id not in job.task_ids:
            return 404, {"Error": "task not found", "Code": 404}
        return 200, self.show_task(job, request.task_id)

    def _create(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        plugin = wanted.get("Plugin")
        targets = wanted["Targets"] if plugin is None else list(map(name_set, plugin["Params"]))
        job = self.create_job(targets)
        job.shows_urls = plugin is None
        job.webhook_url, job.webhook_headers = wanted.get("WebhookURL", ""), wanted.get("WebhookHeaders", {})
        self.sold[tuple(sorted(targets))] += 1
        return 201, {"JobID": job.job_id, "TaskIDs": list(job.task_ids), "Message": "accepted"}

    def _job(self, job: Job) -> dict[str, Any]:
        now = self.now()
        status = job.status(now)
        tasks = [{"TaskID": i, "URL": self._write_url(job, i), "Status": job.task_status(i, now)} for i in job.task_ids]
        return {
            "JobID": job.job_id,
            "TaskIDs": list(job.task_ids),
            "Status": status,
            "StartTime": _format_time(job.created),
            "EndTime": None if status in _RUNNING else _format_time(min(now, job.ends)),
            "AcquiredConcurrency": 2 if status in _RUNNING else 0,
            "LimitConcurrency": 0,
            "Canceled": job.stopped is not None,
            "Tasks": tasks if self.tasks_named else [],
        }

    def show_task(self, job: Job, task_id: str) -> dict[str, Any]:
        """Return the answer for a task, which is also the body of its delivery."""
        status = job.task_status(task_id, self.now())
        done = status == "success"
        return {
            "TaskID": task_id,
            "JobID": job.job_id,
            "URL": self._write_url(job, task_id),
            "Status": status,
            "StartTime": _format_time(job.created),
            "EndTime": _format_time(job.ends) if done else None,
            "UpdateTime": _format_time(job.ends),
            "ExpiresAt": _format_time(job.created + self.forgets_after),
            "Base64EncodedContent": False,
            "StatusCode": 200 if done else 0,
            "ResponseHeaders": {"Content-Type": "text/html", "Server": "x"},
            "Scrape.do": {"Request-Cost": "1", "Remaining-Credits": "999"},
            "Content": page_of(job.target_of(task_id)) if done else "",
            "ErrorMessage": "",
            "WebhookURL": job.webhook_url,
            "WebhookStatus": "",
            "WebhookRequestTime": None,
            "TraceID": "tr-1",
        }

    def _write_url(self, job: Job, task_id: str) -> str:
        return self.write_url(job.target_of(task_id)) if job.shows_urls else ""

    def _list(self, query: dict[str, str]) -> dict[str, Any]:
        now, size, page = self.now(), int(query.get("page_size", 10)), int(query.get("page", 1))
        jobs = sorted(self.jobs.values(), key=lambda job: job.created, reverse=query.get("sort") != "start_time_asc")
        jobs = [job for job in jobs if now - job.created <= self.forgets_after]
        if status := query.get("status"):
            jobs = [job for job in jobs if job.status(now) == status]
        shown = [self._job(job) for job in jobs[(page - 1) * size : page * size]]
        if not self.full_list:
            trimmed = ("JobID", "TaskIDs", "Status", "StartTime", "EndTime")
            shown = [{name: job[name] for name in trimmed} for job in shown]
        pages = math.ceil(len(jobs) / size)
        return {"Jobs": shown, "TotalCount": len(jobs), "PageSize": size, "PageNumber": page, "TotalPages": pages}


def name_set(params: dict[str, Any]) -> str:
    """Return the name of a plugin's parameter set, which stands for a target."""
    return json.dumps(params, sort_keys=True)


def page_of(target: str) -> str:
    """Return the page of a target."""
    return f"<html>the page of {target} \u2014 {'x' * 40}</html>"


def _format_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Server:
    """The socket in front of the account of the present run."""

    def __init__(self) -> None:
        self.account: Account | None = None
        self.port = 0
        self._server: asyncio.Server | None = None
        self.open: set[_Connection] = set()

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close all connections."""
        for one in list(self.open):
            one.transport.abort()
        if self._server is not None:
            self._server.close()

    @property
    def url(self) -> str:
        """The API address in the product's settings."""
        return f"http://127.0.0.1:{self.port}"


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server, self._held = server, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._server.open.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._server.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while b"\r\n\r\n" in self._held:
            head, _, rest = self._held.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            self._held = rest[length:]
            self._answer(first, headers, rest[:length])

    def _answer(self, first: str, headers: dict[str, str], body: bytes) -> None:
        account = self._server.account
        if account is None:
            self.transport.abort()
            return
        method, target, _ = first.split(" ")
        try:
            response = account.answer(_read_request(method, target, headers.get("x-token", "")), body)
            whole = response.write()
        except Exception as error:  # noqa: BLE001 (reported to the player)
            account.failures.append(f"{method} {target}: {type(error).__name__}: {error}"[:300])
            self.transport.abort()
            return
        if response.hang:
            return
        sent = response.cut_at(whole)
        if sent:
            self.transport.write(whole[:sent])
        if sent < len(whole) or response.close or response.version == "HTTP/1.0":
            self.transport.close()


def _read_request(method: str, target: str, token: str) -> ApiRequest:
    path, _, query = target.partition("?")
    names = path.removeprefix(_PREFIX).strip("/").split("/")
    ids = [*names[1:], "", ""]
    if names[0] == "me":
        kind = "me"
    elif method == "POST":
        kind = "create"
    elif method == "DELETE":
        kind = "delete"
    else:
        kind = ("list", "job", "task")[len(names) - 1]
    # Ids are UUIDs, whose letter case does not matter.
    return ApiRequest(kind, method, path, dict(parse_qsl(query)), token, ids[0].lower(), ids[1].lower())
