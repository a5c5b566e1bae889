"""The endpoints with which tests and benchmarks control and inspect the sandbox."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from scrape_do_sandbox.faults import FaultRule
from scrape_do_sandbox.timers import format_time
from scrape_do_sandbox.views import content_hash, json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from scrape_do_sandbox.app import SandboxApp
    from scrape_do_sandbox.jobs import Job, Task

    Endpoint = Callable[[Any], Any]

PREFIX = "/_sandbox/"


class ControlEndpoints:
    """The endpoints under `/_sandbox/`. Each gets the JSON of the body, or the query if the request has no body."""

    def __init__(self, app: SandboxApp, count_connections: Callable[[], int]) -> None:
        self._app = app
        self._count_connections = count_connections
        self._endpoints: dict[tuple[str, str], Endpoint] = {
            ("GET", "log"): self._show_log,
            ("GET", "stats"): self._show_stats,
            ("GET", "jobs"): self._list_jobs,
            ("GET", "faults"): self._list_rules,
            ("POST", "faults"): self._add_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "config"): self._show_options,
            ("POST", "config"): self._change_options,
            ("POST", "advance"): self._move_clock,
            ("POST", "reset"): self._reset_app,
        }

    async def handle_request(self, request: web.BaseRequest) -> web.Response:
        """Carry out a control request; answer 400 with the reason if the request is not valid.

        A page in a browser of this machine can reach a loopback address. It must neither control the sandbox nor read
        what was bought, so its requests get 403.
        """
        if reason := _refuse_browser(request.headers):
            return json_response(403, {"Error": reason, "Code": 403})
        endpoint = self._endpoints.get((request.method, request.path.removeprefix(PREFIX)))
        if endpoint is None:
            return json_response(404, {"Error": "No such control endpoint", "Code": 404})
        try:
            data = json.loads(await request.read()) if request.body_exists else request.query
            return json_response(200, endpoint(data))
        except (ValidationError, ValueError, TypeError, KeyError) as error:
            return json_response(400, {"Error": str(error), "Code": 400})

    def _show_log(self, query: Any) -> list[dict[str, Any]]:
        return self._app.request_log.list_since(int(query.get("since", 0)))

    def _show_stats(self, _: Any) -> dict[str, Any]:
        stats = self._app.request_log.count_all()
        return stats | {"connections_open": self._count_connections(), "time": format_time(self._app.clock.now())}

    def _list_jobs(self, _: Any) -> list[dict[str, Any]]:
        now = self._app.clock.now()
        return [_show_job(job, now) for job in self._app.state.list_jobs()]

    def _list_rules(self, _: Any) -> list[dict[str, Any]]:
        return [rule.model_dump() for rule in self._app.faults.rules]

    def _add_faults(self, rules: Any) -> dict[str, Any]:
        return {"ids": self._app.faults.add_rules([FaultRule.model_validate(rule) for rule in rules])}

    def _clear_faults(self, _: Any) -> dict[str, Any]:
        self._app.faults.clear()
        return {}

    def _show_options(self, _: Any = None) -> dict[str, Any]:
        return self._app.options.model_dump(exclude={"token"})

    def _change_options(self, options: Any) -> dict[str, Any]:
        self._app.options.change_values(options)
        return self._show_options()

    def _move_clock(self, move: Any) -> dict[str, Any]:
        self._app.clock.advance(float(move["seconds"]))
        self._app.timers.wake_up()
        return {"time": format_time(self._app.clock.now())}

    def _reset_app(self, _: Any) -> dict[str, Any]:
        self._app.reset()
        return {}


def _refuse_browser(headers: Mapping[str, str]) -> str:
    """Return why a request of a foreign page is refused; empty for a request of this machine."""
    host = headers.get("Host", "")
    # A page can give its own host name the address 127.0.0.1. Its `Host` header still shows the name.
    if not _is_loopback(f"//{host}"):
        return f"The control endpoints answer loopback hosts only, such as 127.0.0.1, and not {ascii(host)[:100]}"
    origin = headers.get("Origin")
    if origin is not None and origin != f"http://{host}":
        return f"The control endpoints refuse pages of other origins, such as {ascii(origin)[:100]}"
    # A browser sends no `Origin` with an image or a link, but names the site of the page.
    if headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return "The control endpoints refuse pages of other origins"
    return ""


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _show_webhook(task: Task) -> dict[str, Any]:
    if "WebhookURL" not in task.job.spec.options:
        return {}
    return {"webhook": {"attempts": task.webhook.attempts, "accepted_at": task.webhook.accepted}}


def _show_job(job: Job, now: float) -> dict[str, Any]:
    return {
        "id": job.id,
        "targets": list(job.spec.targets),
        "created": format_time(job.created),
        "status": job.status(now),
        "canceled": job.canceled,
        "ends_in": job.ends_in(now),
        "tasks": [
            {
                "id": task.id,
                "url": task.url,
                "status": task.status(now),
                "fetched": task.reads,
                "sha256": content_hash(task, now),
                "cost": task.cost if task.status(now) == "success" else 0,
                "ended_at": task.ended_at if task.ended_at <= now else None,
                **_show_webhook(task),
            }
            for task in job.tasks
        ],
    }
