"""A worker's app with Sentry's SDK and bugs: a submit step and the start of a run fail for targets of `bug.example`."""

from __future__ import annotations

import os
from typing import Any

from sentry_events import record_events

from scrape_do_celery.store import Claim
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.worker import app

record_events(os.environ["EVENTS_FILE"])
_spec, _encode = Claim.spec, CreateRun.encode


def fail_in_step(self: Claim) -> Any:
    """Fail as a bug would, with the whole request in local variables."""
    spec = _spec(self)
    wire = spec.request.to_wire()
    if "bug-in-step.example" in str(wire):
        raise RuntimeError(f"a bug in a step, with {len(wire)} fields")
    return spec


def fail_at_start(self: CreateRun, keys: Any) -> Any:
    """Fail as a bug would, with the encoded run in local variables."""
    encoded, wire = _encode(self, keys), self.spec.request.to_wire()
    if "bug-at-start.example" in str(wire):
        raise RuntimeError(f"a bug at the start, with {len(wire)} fields")
    return encoded


Claim.spec, CreateRun.encode = fail_in_step, fail_at_start
__all__ = ["app"]
