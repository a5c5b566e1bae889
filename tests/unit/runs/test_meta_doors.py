"""Test that each way to start a run takes `meta`, and that messages, requests and errors never have it."""

from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner

from scrape_do_celery import (
    IdempotencyConflictError,
    InvalidRequestError,
    Target,
    aenqueue,
    enqueue,
    enqueue_many,
    scheduled_run,
)
from scrape_do_celery.cli import main
from scrape_do_celery.cli.pages import write_page
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.redaction import call_summary
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.creation import ScheduleTick
from scrape_do_celery.store.commands.ownership import ScanConflictingParts
from scrape_do_celery.store.commands.purchases import digest_claim
from scrape_do_celery.store.commands.runs import ReadSpec

A, B = "https://a.example/", "https://b.example/"
SECRET = "meta-that-is-private"
INPUTS = [Target(A, {"sku": SECRET}), B, Target(A, 7)]


@pytest.fixture(autouse=True)
def _own_app(start_run):
    pass


def read_inputs(step_harness, run_id):
    return step_harness.run(ReadSpec(run_id, 1)).given_inputs()["targets"]


def objects():
    return [{"url": A, "meta": {"sku": SECRET}}, B, {"url": A, "meta": 7}]


DOORS = {
    "enqueue": enqueue,
    "enqueue_many": lambda inputs, **options: enqueue_many([inputs], **options)[0],
    "aenqueue": lambda inputs, **options: asyncio.run(aenqueue(inputs, **options)),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("form", [lambda: INPUTS, objects, lambda: iter(INPUTS), lambda: tuple(INPUTS)])
def test_doors_take_meta(step_harness, door, form):
    run_id = DOORS[door](form()).run_id
    assert read_inputs(step_harness, run_id) == objects()
    assert SECRET not in repr(step_harness.sent)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (Target(A, {"sku": object()}), r"targets\[1\]\.meta\['sku'\] is of type object"),
        (Target(A, "x" * 2000), r"targets\[1\]\.meta has 2,002 bytes of JSON; use at most 1,024"),
        (Target("ftp://a.example/", 1), r"targets\[1\] "),
        (Target(None, 1), r"targets\[1\] must be text"),
        ({"uri": A}, r"targets\[1\] has no field 'uri'; did you mean url"),
    ],
)
def test_fault_names_the_position_and_writes_nothing(step_harness, door, wrong, fault):
    before = step_harness.run_ids()
    with pytest.raises(ValueError, match=fault):
        DOORS[door]([B, wrong])
    assert step_harness.run_ids() == before == set()
    assert step_harness.sent == []


def test_later_changes_of_the_callers_data_change_nothing(step_harness):
    meta = {"sku": ["A"]}
    inputs = [{"url": A, "meta": meta}]
    run_id = enqueue(inputs).run_id
    meta["sku"].append("B")
    assert read_inputs(step_harness, run_id) == [{"url": A, "meta": {"sku": ["A"]}}]


def test_conflict_of_a_key_names_meta(step_harness):
    first = enqueue(INPUTS, idempotency_key="k")
    assert enqueue(objects(), idempotency_key="k") == first
    with pytest.raises(IdempotencyConflictError, match=r"differ in meta$") as caught:
        enqueue([A, B, A], idempotency_key="k")
    assert caught.value.fields == ("meta",)
    with pytest.raises(IdempotencyConflictError, match=r"differ in meta$"):
        enqueue([Target(A, 1), B, A], run_id=first.run_id)
    with pytest.raises(IdempotencyConflictError, match=r"differ in dedupe$"):
        enqueue(INPUTS, idempotency_key="k", dedupe=True)


def test_key_of_a_run_without_meta_still_matches(step_harness):
    first = enqueue([A], idempotency_key="k")
    assert enqueue([Target(A)], idempotency_key="k", dedupe=False) == first


def test_api_never_gets_meta(step_harness, make):
    run_id = enqueue(INPUTS, dedupe=True).run_id
    step_harness.api.script(create_job=make.created("j", 2))
    step_harness.run_step(submit_part, step_harness.claim_part(run_id))
    ((request,),) = step_harness.api.called("create_job")
    assert request.to_wire() == {"Targets": [A, B]}
    part = step_harness.part(run_id)
    assert (part.state, part.total) == (PartState.RUNNING, 2)


def test_search_for_a_job_does_not_compare_meta(step_harness):
    """Two runs of the same targets and options are alike for a search, whatever their `meta` is."""
    first, second = enqueue([Target(A, 1), B]).run_id, enqueue([Target(A, 2), B, A, B], dedupe=True).run_id
    claims = [step_harness.claim_part(run_id) for run_id in (first, second)]
    assert digest_claim(claims[0]) == digest_claim(claims[1])
    scans = [ScanConflictingParts(claim, digest_claim(claim)) for claim in claims]
    assert [step_harness.run(scan)[1] for scan in scans] == ["", ""]
    other = enqueue([A, B], max_wait=60).run_id
    assert [step_harness.run(scan)[1] for scan in scans] == [f"{other}:0"] * 2, "another option makes a conflict"


def test_step_called_by_name_takes_objects(step_harness, scrape_task):
    from celery.exceptions import Ignore

    scrape_task.push_request(id="celery-id", args=(), kwargs={})
    try:
        with pytest.raises(Ignore):
            scrape_task.run(targets=objects(), dedupe=True)
        assert SECRET not in repr(scrape_task.request.kwargs)
        with pytest.raises(InvalidRequestError, match=r"targets\[0\]\.meta has 2,002 bytes") as caught:
            scrape_task.run(targets=[{"url": A, "meta": "x" * 2000}])
        assert "xxx" not in str(caught.value)
    finally:
        scrape_task.pop_request()
    assert read_inputs(step_harness, "celery-id") == objects()
    assert step_harness.part("celery-id").total == 2


def test_summary_of_a_call_shows_hosts_and_no_meta():
    shown = call_summary((INPUTS,), {"dedupe": True})
    assert shown == {"targets": 3, "host": "a.example, ...", "dedupe": True}
    assert call_summary((objects(),), {}) == {"targets": 3, "host": "a.example, ..."}


def test_schedule_carries_objects(step_harness):
    entry = scheduled_run("prices", 60, INPUTS, dedupe=True)
    request = entry["kwargs"]["request"]
    assert request == {"targets": objects(), "dedupe": True}
    run_id = start_scheduled_run(step_harness.app_context, ScheduleTick("prices", "1", "skip"), request)
    assert read_inputs(step_harness, run_id) == objects()
    assert step_harness.part(run_id).total == 2
    with pytest.raises(ValueError, match=r"targets\[0\]\.meta has 2,002 bytes"):
        scheduled_run("prices", 60, [Target(A, "x" * 2000)])


def test_schedule_of_equal_parameter_sets_keeps_them(step_harness):
    plugin = {"key": "google/search", "params": [{"q": "x"}, {"q": "x"}]}
    request = scheduled_run("prices", 60, plugin=plugin, dedupe=True)["kwargs"]["request"]
    assert [one for name, one in request["plugin"].items() if name.lower() == "params"] == [plugin["params"]]
    run_id = start_scheduled_run(step_harness.app_context, ScheduleTick("prices", "1", "skip"), request)
    assert step_harness.part(run_id).total == 1


def test_command_takes_objects_in_its_request_file(step_harness, tmp_path, monkeypatch):
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"targets": objects(), "geo_code": "us"}))
    monkeypatch.setattr("scrape_do_celery.runs.AppContext.for_app", lambda *_, **__: step_harness.app_context)
    done = CliRunner().invoke(main, ["enqueue", "--request", str(path), "--dedupe"])
    assert done.exit_code == 0, done.output
    run_id = done.output.strip()
    assert read_inputs(step_harness, run_id) == objects()
    assert step_harness.part(run_id).total == 2


def test_page_is_written_with_its_meta(make, tmp_path):
    path = write_page(tmp_path, 1, make.task().model_copy(update={"meta": {"sku": "ü"}}))
    assert json.loads((tmp_path / f"{path.stem}.meta.json").read_text(encoding="utf-8")) == {"sku": "ü"}
    write_page(tmp_path, 2, make.task())
    assert len(list(tmp_path.iterdir())) == 3


def test_page_of_another_run_in_the_same_file_loses_the_old_meta(make, tmp_path):
    path = write_page(tmp_path, 1, make.task().model_copy(update={"meta": {"sku": "old"}}))
    assert write_page(tmp_path, 1, make.task()) == path
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_meta_never_stands_beside_a_page_that_was_not_written(make, tmp_path):
    path = write_page(tmp_path, 1, make.task().model_copy(update={"meta": {"sku": "old"}}))
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_page(tmp_path, 1, make.task().model_copy(update={"meta": {"sku": "new"}}))
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_request_model_takes_no_targets_with_meta():
    with pytest.raises(ValueError, match=r"targets\[0\] has meta, which no request carries"):
        JobCreationRequest(targets=[Target(A, 1)])
