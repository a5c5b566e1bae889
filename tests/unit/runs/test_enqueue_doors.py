"""Test that every way to start a run accepts the same requests, and writes nothing if it refuses one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from scrape_do_celery import (
    routing,
    tasks,  # noqa: F401 (its import registers the step)
)
from scrape_do_celery.runs import enqueue, enqueue_many, scheduled_run
from scrape_do_celery.runs.drafts import create_draft
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.store.commands.creation import ScheduleTick
from scrape_do_celery.store.commands.runs import ReadSpec
from tests.unit.models import odd

if TYPE_CHECKING:
    from scrape_do_celery.store import RunSpec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SECRET = {"headers", "set_cookies", "webhook_headers", "body"}


@pytest.fixture
def doors(step_harness, monkeypatch):
    """Return functions that make a run from the fields of a request, and return its id."""
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda self, args, kwargs, **options: kwargs["run_id"])
    step = step_harness.app.tasks[routing.SCRAPE]
    numbers = iter(range(10**9))

    def schedule(**fields: Any) -> str:
        number = next(numbers)
        entry = scheduled_run(f"schedule {number}", 60, **fields)
        return start_scheduled_run(
            step_harness.app_context, ScheduleTick(f"schedule {number}", "t", "skip"), entry["kwargs"]["request"]
        )

    return {
        "enqueue": lambda **fields: enqueue(**fields).run_id,
        "many": lambda targets=None, **fields: enqueue_many([targets], **fields)[0].run_id,
        "step": lambda **fields: step.apply_async((), fields),
        "draft": lambda **fields: create_draft(step_harness.app_context, f"message {next(numbers)}", {}, (), fields),
        "schedule": schedule,
    }


def fresh(value: Any) -> Any:
    """Return the value for one way. A generator becomes a list, because it can be read only once."""
    return list(value) if type(value).__name__ == "generator" else value


def test_all_doors_take_and_refuse_alike(step_harness, doors):
    taken = 0

    @settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(odd.requests)
    def check(fields):
        nonlocal taken
        fields = {name: fresh(value) for name, value in fields.items()}
        found: dict[str, RunSpec | None] = {}
        for name, door in doors.items():
            if name == "schedule" and any(fields.get(field) for field in SECRET):
                continue
            before = set(step_harness.redis.keys())
            try:
                run_id = door(**fields)
            except ValueError:
                found[name] = None
                assert set(step_harness.redis.keys()) == before
            else:
                spec = step_harness.run(ReadSpec(run_id, 1))
                assert spec is not None
                # The runs of a schedule have its name as their label.
                found[name] = replace(spec, label=None)
        taken += None not in found.values()
        assert len({spec and spec.digest for spec in found.values()}) == 1, found

    check()
    assert taken
