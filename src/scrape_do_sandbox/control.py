from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from pydantic import ValidationError

from scrape_do_sandbox.faults import Rule
from scrape_do_sandbox.timers import stamp
from scrape_do_sandbox.views import content_hash
from scrape_do_sandbox.wire import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_sandbox.app import SandboxApp
    from scrape_do_sandbox.jobs import Job
    from scrape_do_sandbox.wire import Request

PREFIX = "/_sandbox/"


class Control:
    """The endpoints under `/_sandbox/`, with which tests and benchmarks control and inspect the sandbox."""

    def __init__(self, app: SandboxApp) -> None:
        self._app = app
        self._endpoints: dict[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "log"): self._log,
            ("GET", "stats"): self._stats,
            ("GET", "jobs"): self._jobs,
            ("GET", "faults"): self._rules,
            ("POST", "faults"): self._add_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "config"): self._options,
            ("POST", "config"): self._configure,
            ("POST", "advance"): self._advance,
            ("POST", "reset"): self._reset,
        }

    def answer(self, request: Request) -> Response:
        """Carry out a control request; answer 400 with the reason if the request is not valid."""
        endpoint = self._endpoints.get((request.method, request.path.removeprefix(PREFIX)))
        if endpoint is None:
            return Response.json_response(404, {"Error": "No such control endpoint", "Code": 404})
        try:
            return Response.json_response(200, endpoint(request))
        except (ValidationError, ValueError, TypeError, KeyError) as error:
            return Response.json_response(400, {"Error": str(error), "Code": 400})

    def _log(self, request: Request) -> list[dict[str, Any]]:
        return self._app.request_log.since(int(parse_qs(request.query).get("since", ["0"])[0]))

    def _stats(self, _: Request) -> dict[str, Any]:
        return self._app.request_log.stats() | {"time": stamp(self._app.clock.now())}

    def _jobs(self, _: Request) -> list[dict[str, Any]]:
        now = self._app.clock.now()
        return [_job(job, now) for job in self._app.state.jobs()]

    def _rules(self, _: Request) -> list[dict[str, Any]]:
        return [rule.model_dump() for rule in self._app.faults.rules]

    def _add_faults(self, request: Request) -> dict[str, Any]:
        return {"ids": self._app.faults.add([Rule.model_validate(rule) for rule in json.loads(request.body)])}

    def _clear_faults(self, _: Request) -> dict[str, Any]:
        self._app.faults.clear()
        return {}

    def _options(self, _: Request) -> dict[str, Any]:
        return self._app.options.model_dump(exclude={"token"})

    def _configure(self, request: Request) -> dict[str, Any]:
        self._app.options.change(json.loads(request.body))
        return self._options(request)

    def _advance(self, request: Request) -> dict[str, Any]:
        self._app.clock.advance(float(json.loads(request.body)["seconds"]))
        self._app.timers.wake()
        return {"time": stamp(self._app.clock.now())}

    def _reset(self, _: Request) -> dict[str, Any]:
        self._app.reset()
        return {}


def _job(job: Job, now: float) -> dict[str, Any]:
    return {
        "id": job.id,
        "targets": list(job.spec.targets),
        "created": stamp(job.created),
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
            }
            for task in job.tasks
        ],
    }
