"""Test that a `meta` arrives unchanged on each way to start a run, or is refused with one reason on all ways."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from celery.exceptions import Ignore
from click.testing import CliRunner
from kombu.utils.json import dumps, loads

from scrape_do_celery import Plugin, Target, aenqueue, enqueue, enqueue_many, scheduled_run
from scrape_do_celery.cli import main
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.store.commands.creation import ScheduleTick
from scrape_do_celery.store.commands.runs import ReadSpec
from scrape_do_celery.store.options import RunSpec

A, B = "https://a.example/", "https://b.example/"

GOOD = [
    {"b": 1, "a": {"d": 1, "c": [{"f": 1, "e": 2}]}},
    {"__type__": "uuid"},
    {"__type__": "nothing", "__value__": 1, "more": None},
    {"__complex__": True, "real": 1, "imag": 2},
    [2**53 + 1, -(2**63), 2**200, -0.0, 1.0, 1, 0.1 + 0.2, 1e308, 5e-324, True, False, None],
    {"": "", "\x00": "\u2028 \U0001f600", "1": "1"},
    "2026-01-01T00:00:00+00:00",
    [[], {}, [[]]],
]
ENVELOPE = "has only the keys __type__ and __value__"
BAD = [
    ({"__type__": "uuid", "__value__": {"hex": "0" * 32}}, f"meta {ENVELOPE}"),
    ({"__type__": "nothing", "__value__": 1}, f"meta {ENVELOPE}"),
    ([{"a": {"__value__": "x", "__type__": "bytes"}}], rf"meta\[0\]\['a'\] {ENVELOPE}"),
    ({1: "a", "1": "b"}, "meta: the key int must be text"),
    ({b"a": 1}, "meta: the key bytes must be text"),
    ({"a": float("nan")}, r"meta\['a'\] is a number that JSON cannot write"),
    ([float("-inf")], r"meta\[0\] is a number that JSON cannot write"),
    (2**1100, "meta is too large for a JSON number"),
    ({"a": "\ud800"}, r"meta\['a'\] holds a lone surrogate"),
    ({"\udfff": 1}, "holds a lone surrogate"),
    (datetime.now(UTC), "meta is of type datetime"),
    ({"a": Decimal(1)}, r"meta\['a'\] is of type Decimal"),
    (uuid.uuid4(), "meta is of type UUID"),
    (b"a", "meta is of type bytes"),
    ((1, 2), "meta is of type tuple"),
    (1 + 2j, "meta is of type complex"),
    ("x" * 1023, "meta has 1,025 bytes of JSON; use at most 1,024"),
]


def is_in_file(case):
    """Return whether a JSON file can hold the data. Only Python has the other types."""
    return not any(text in case[1] for text in ("of type", "the key"))


@pytest.fixture
def ways(step_harness, scrape_task, monkeypatch, tmp_path):
    """Return functions that start a run of some inputs and return its id, by name."""
    context = step_harness.app_context
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    monkeypatch.setattr("scrape_do_celery.runs.AppContext.for_app", lambda *_, **__: context)
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda *_, **__: None)

    def call(inputs):
        scrape_task.apply_async((inputs,), task_id="celery-id")
        return "celery-id"

    def follow(inputs):
        # A later task of a canvas passes through Celery's JSON before this package sees its arguments.
        args = loads(dumps(scrape_task.s(inputs)))["args"]
        scrape_task.push_request(id="celery-id", args=(), kwargs={})
        try:
            with pytest.raises(Ignore):
                scrape_task.run(*args)
        finally:
            scrape_task.pop_request()
        return "celery-id"

    def schedule(inputs):
        kwargs = loads(dumps(scheduled_run("prices", 60, inputs)["kwargs"]))
        return start_scheduled_run(context, ScheduleTick("prices", "1", "skip"), kwargs["request"])

    def read_file(inputs):
        objects = [one if isinstance(one, str) else {"url": one.url, "meta": one.meta} for one in inputs]
        (tmp_path / "request.json").write_text(json.dumps({"targets": objects}))
        done = CliRunner().invoke(main, ["enqueue", "--request", str(tmp_path / "request.json")])
        if done.exit_code:
            raise ValueError(done.output)
        return done.output.strip()

    return {
        "enqueue": lambda inputs: enqueue(inputs).run_id,
        "enqueue_many": lambda inputs: enqueue_many([inputs])[0].run_id,
        "aenqueue": lambda inputs: asyncio.run(aenqueue(inputs)).run_id,
        "call": call,
        "canvas": follow,
        "schedule": schedule,
        "file": read_file,
    }


WAYS = ["enqueue", "enqueue_many", "aenqueue", "call", "canvas", "schedule", "file"]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_gives_back_the_same_data(step_harness, ways, way):
    inputs = [Target(f"{A}{n}", meta) for n, meta in enumerate(GOOD)]
    found = step_harness.run(ReadSpec(ways[way](inputs), 1)).given_inputs()["targets"]
    # The texts show the order of keys, and the types of numbers.
    assert [json.dumps(one["meta"]) for one in found] == [json.dumps(meta) for meta in GOOD]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_refuses_the_same_data_with_the_same_reason(step_harness, ways, way):
    for meta, fault in BAD if way != "file" else filter(is_in_file, BAD):
        with pytest.raises(ValueError, match=fault):
            ways[way]([B, Target(A, meta)])
    assert step_harness.run_ids() == set()


@pytest.mark.parametrize("way", sorted({*WAYS} - {"canvas", "file"}))
def test_objects_are_refused_as_targets_are(step_harness, ways, way):
    for meta, fault in BAD:
        with pytest.raises(ValueError, match=rf"targets\[1\]\.{fault}" if fault.startswith("meta") else fault):
            ways[way]([B, {"url": A, "meta": meta}])
    assert step_harness.run_ids() == set()


@pytest.mark.parametrize("way", sorted({*WAYS} - {"file"}))
def test_later_changes_are_not_sent(step_harness, ways, way):
    meta = {"sku": ["A"]}
    target = Target(A, meta)
    meta["sku"].append("x" * 2000)
    target.meta["sku"].append("y" * 2000)
    found = step_harness.run(ReadSpec(ways[way]([target]), 1)).given_inputs()["targets"]
    assert found == [{"url": A, "meta": {"sku": ["A"]}}]


def test_later_changes_do_not_change_what_was_checked(step_harness, ways):
    meta = {"sku": ["A"]}
    target, given = Target(A, meta), {"url": B, "meta": meta}
    spec, entry = RunSpec.from_arguments([target, given]), scheduled_run("prices", 60, [target, given])
    meta["sku"].append("B")
    target.meta["sku"].append("C")
    expected = [{"url": A, "meta": {"sku": ["A"]}}, {"url": B, "meta": {"sku": ["A"]}}]
    assert spec.given_inputs() == {"targets": expected}
    assert entry["kwargs"]["request"]["targets"] == expected


def test_refused_data_stay_refused_after_a_change():
    meta = {"sku": object()}
    target = Target(A, meta)
    meta["sku"] = "A"
    with pytest.raises(ValueError, match=r"targets\[0\]\.meta\['sku'\] is of type object"):
        RunSpec.from_arguments([target])


@pytest.mark.parametrize("field", ["params", "extra"])
def test_data_for_the_api_that_celery_would_change_are_refused(field):
    one = {"a": {"__type__": "uuid", "__value__": {"hex": "0" * 32}}}
    with pytest.raises(ValueError, match=ENVELOPE):
        Plugin("foo/bar", [one]) if field == "params" else RunSpec.from_arguments([A], extra={"New": one})
