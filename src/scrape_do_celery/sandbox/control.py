from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from pydantic import ValidationError

from scrape_do_celery.sandbox.clock import stamp
from scrape_do_celery.sandbox.faults import Rule
from scrape_do_celery.sandbox.views import content_hash
from scrape_do_celery.sandbox.wire import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.sandbox.core import Core
    from scrape_do_celery.sandbox.jobs import Job
    from scrape_do_celery.sandbox.wire import Request

PREFIX = "/_sandbox/"


class Control:
    """The endpoints under ``/_sandbox/``: what tests and benchmarks ask of the sandbox itself."""

    def __init__(self, core: Core) -> None:
        self._core = core
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
        """Does what the request asks; 400 with the reason where it cannot."""
        endpoint = self._endpoints.get((request.method, request.path.removeprefix(PREFIX)))
        if endpoint is None:
            return Response.of(404, {"Error": "No such control endpoint", "Code": 404})
        try:
            return Response.of(200, endpoint(request))
        except (ValidationError, ValueError, TypeError, KeyError) as error:
            return Response.of(400, {"Error": str(error), "Code": 400})

    def _log(self, request: Request) -> list[dict[str, Any]]:
        return self._core.journal.since(int(parse_qs(request.query).get("since", ["0"])[0]))

    def _stats(self, _: Request) -> dict[str, Any]:
        return self._core.journal.stats() | {"time": stamp(self._core.clock.now())}

    def _jobs(self, _: Request) -> list[dict[str, Any]]:
        now = self._core.clock.now()
        return [_job(job, now) for job in self._core.state.jobs()]

    def _rules(self, _: Request) -> list[dict[str, Any]]:
        return [rule.model_dump() for rule in self._core.faults.rules]

    def _add_faults(self, request: Request) -> dict[str, Any]:
        return {"ids": self._core.faults.add([Rule.model_validate(rule) for rule in json.loads(request.body)])}

    def _clear_faults(self, _: Request) -> dict[str, Any]:
        self._core.faults.clear()
        return {}

    def _options(self, _: Request) -> dict[str, Any]:
        return self._core.options.model_dump(exclude={"token"})

    def _configure(self, request: Request) -> dict[str, Any]:
        self._core.options.change(json.loads(request.body))
        return self._options(request)

    def _advance(self, request: Request) -> dict[str, Any]:
        self._core.clock.advance(float(json.loads(request.body)["seconds"]))
        self._core.agenda.wake()
        return {"time": stamp(self._core.clock.now())}

    def _reset(self, _: Request) -> dict[str, Any]:
        self._core.reset()
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
