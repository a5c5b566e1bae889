"""Test that each log record of the package has an event and the same fields."""

from __future__ import annotations

import ast
import logging
import re
from pathlib import Path

import pytest

import scrape_do_celery
from scrape_do_celery.log_fields import log_fields
from scrape_do_celery.routing import Step
from scrape_do_celery.store import PartId, PartState

SOURCE = Path(scrape_do_celery.__file__).parent
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
FIELDS = {"event", "run_id", "part", "step", "account", "label", "hosts", "targets"}


def calls_of_loggers(text):
    return [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in METHODS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"log", "logger"}
    ]


def event_of(call):
    """Return the event that a log call names; None if the call has no fields."""
    extra = next((one.value for one in call.keywords if one.arg == "extra"), None)
    if not isinstance(extra, ast.Call) or getattr(extra.func, "id", "") != "log_fields":
        return None
    return extra.args[0].value if isinstance(extra.args[0], ast.Constant) else None


CALLS = [(path, call) for path in sorted(SOURCE.rglob("*.py")) for call in calls_of_loggers(path.read_text())]


def test_the_package_logs():
    assert len(CALLS) > 50


@pytest.mark.parametrize(
    ("path", "call"), CALLS, ids=lambda one: one.stem if isinstance(one, Path) else f"{one.lineno}"
)
def test_log_call_names_its_event(path, call):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event_of(call) or ""), f"{path.name}:{call.lineno}"


@pytest.mark.parametrize("text", ["log.info('x')", "log.info('x', extra={'event': 'x'})"])
def test_log_call_without_fields_is_noticed(text):
    assert [event_of(call) for call in calls_of_loggers(text)] == [None]


@pytest.mark.parametrize(
    "fields",
    [log_fields("a"), log_fields("a", PartId("r", 1)), log_fields("a", run_id="r"), log_fields("a", account="x")],
)
def test_all_records_have_the_same_fields(fields):
    assert set(fields) == FIELDS


def test_record_of_a_step_names_run_part_and_step(step_harness, caplog):
    async def poll_harmless(context, claim):
        raise OSError("unplugged")

    from scrape_do_celery.steps.runner import StepDefinition, run_step

    step_harness.create_run()
    with caplog.at_level(logging.WARNING):
        run_step(step_harness.app, StepDefinition(Step.POLL, {PartState.QUEUED}, poll_harmless), ["r:0"])
    (record,) = [one for one in caplog.records if one.name.startswith("scrape_do_celery")]
    assert (record.event, record.run_id, record.part, record.step) == ("step_failed", "r", 0, "poll")
    assert log_fields("after")["step"] is None


def test_record_inside_a_step_names_the_step(step_harness, caplog):
    log = logging.getLogger("scrape_do_celery.test")

    async def poll_harmless(context, claim):
        log.warning("seen", extra=log_fields("seen", claim.part_id))
        await context.release_until(claim, {}, 60.0)

    from scrape_do_celery.steps.runner import StepDefinition, run_step

    step_harness.create_run()
    run_step(step_harness.app, StepDefinition(Step.POLL, {PartState.QUEUED}, poll_harmless), ["r:0"])
    (record,) = [one for one in caplog.records if one.name == "scrape_do_celery.test"]
    assert (record.event, record.run_id, record.part, record.step) == ("seen", "r", 0, "poll")
    assert type(record.step) is str, "a formatter may write the value by `repr`"
