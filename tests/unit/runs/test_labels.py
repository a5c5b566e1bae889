"""Test the label of a run: its bounds, and each place that shows the label, the hosts and the number of targets."""

from __future__ import annotations

import ast
import logging

import pytest

from scrape_do_celery import retry_failed, scheduled_run
from scrape_do_celery.errors import IdempotencyConflictError
from scrape_do_celery.log_fields import log_fields
from scrape_do_celery.metrics.live_runs import LiveRunCounter
from scrape_do_celery.metrics.samples import MAX_NAMES, OTHER, add_live_runs
from scrape_do_celery.models import PluginRequest
from scrape_do_celery.redaction import message_reprs
from scrape_do_celery.routing import Step
from scrape_do_celery.runs import RunStatus
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.store import Keys, PartState, RunSpec
from scrape_do_celery.store.commands.creation import ScheduleTick
from scrape_do_celery.store.commands.purchases import Purchase, ReadLedgerDay, WriteIntent
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome
from scrape_do_celery.store.encryption import Encryptor
from tests.unit.steps.conftest import LEASE

URLS = ["https://shop.example/1", "https://b.example/2"]
LABEL = "prices of shop 7, 100 %"


@pytest.mark.parametrize("label", ["x", LABEL, "Preise für Zürich", "x" * 64, "価格"])
def test_a_name_for_people_is_a_label(label):
    assert RunSpec.from_arguments(URLS, label=label).label == label


@pytest.mark.parametrize("label", ["", " ", " x", "x ", "x\n", "a\tb", "\x00", "\ud800", "x" * 65, "ü" * 33, 7, ["x"]])
def test_any_other_value_is_refused_before_a_write(start_run, step_harness, label):
    with pytest.raises(ValueError, match=r"label must (be a text|have 1 to 64 bytes)"):
        start_run(URLS, label=label)
    assert step_harness.run_ids() == set()


def test_status_has_label_tags_and_hosts(start_run):
    handle = start_run(URLS, label=LABEL, tags=["shop:7", "eu"])
    status = handle.status
    assert (status.label, status.tags, status.hosts, status.total) == (LABEL, ("shop:7", "eu"), "shop.example, ...", 2)
    shown = {"label": LABEL, "tags": ["shop:7", "eu"], "hosts": "shop.example, ...", "total": 2}
    assert shown.items() <= status.to_json().items()
    plain = start_run(plugin=PluginRequest(key="google/search", params=[{"q": "x"}])).status
    assert (plain.label, plain.tags, plain.hosts) == (None, (), "google/search")


def test_an_encrypted_store_shows_the_label_and_no_host(step_harness):
    step_harness.keys = Keys(step_harness.keys.prefix, Encryptor([b"k" * 32]))
    step_harness.create_run(each=URLS, label=LABEL, tags=["eu"])
    status = RunStatus.from_record(step_harness.read_run())
    assert (status.label, status.tags, status.hosts) == (LABEL, ("eu",), "")
    assert step_harness.run(WriteIntent(step_harness.claim_part(seconds=LEASE), "n", LEASE, account="me"))
    [line] = step_harness.run(ReadLedgerDay(int(step_harness.clock.time() // 86_400)))
    assert (line.label, line.hosts, line.tags) == (LABEL, "", ("eu",))


def test_one_key_has_one_label(start_run):
    handle = start_run(URLS, label="a", idempotency_key="k")
    assert start_run(URLS, label="a", idempotency_key="k") == handle
    with pytest.raises(IdempotencyConflictError) as caught:
        start_run(URLS, label="b", idempotency_key="k")
    assert caught.value.fields == ("label",)


def test_key_of_a_run_without_a_label_still_finds_it():
    assert RunSpec.from_arguments(URLS, label=None).digest == RunSpec.from_arguments(URLS).digest


def test_label_is_no_option_of_the_job_that_is_bought():
    assert RunSpec.from_arguments(URLS, label="a").packed() == RunSpec.from_arguments(URLS).packed()


def test_retry_has_the_label_and_the_tags_of_its_run(start_run, step_harness):
    handle = start_run(URLS, label=LABEL, tags=["eu"])
    assert step_harness.run(ReadSpec(handle.run_id, 1)).label == LABEL
    step_harness.finish_part(handle.run_id, outcome="failed")
    step_harness.run(RecordOutcome(handle.run_id, "failed", {}))
    again = retry_failed(handle.run_id).status
    assert (again.label, again.tags) == (LABEL, ("eu",))


def started_by(step_harness, entry):
    tick = ScheduleTick(entry["kwargs"]["name"], "2026-11-30T03:00", "skip")
    return step_harness.read_run(start_scheduled_run(step_harness.app_context, tick, entry["kwargs"]["request"]))


@pytest.mark.parametrize(
    ("name", "options", "label"),
    [("nightly prices", {}, "nightly prices"), ("nightly", {"label": LABEL}, LABEL), ("n" * 65, {}, None)],
)
def test_runs_of_a_schedule_have_its_name_or_their_own_label(step_harness, name, options, label):
    record = started_by(step_harness, scheduled_run(name, 60, URLS, tags=["eu"], **options))
    assert (record.label, record.tags) == (label, ("eu",))


def test_monitors_see_the_label_first(step_harness):
    step_harness.create_run(each=URLS, label=LABEL)
    shown = message_reprs("r", step_harness.read_run().summary)["kwargsrepr"]
    assert list(ast.literal_eval(shown).items()) == [("targets", 2), ("label", LABEL), ("host", "shop.example, ...")]


def test_ledger_has_the_label_and_the_hosts(step_harness):
    step_harness.create_run(each=URLS, label=LABEL)
    assert step_harness.run(WriteIntent(step_harness.claim_part(seconds=LEASE), "n", LEASE, account="me"))
    [line] = step_harness.run(ReadLedgerDay(int(step_harness.clock.time() // 86_400)))
    assert (line.label, line.hosts, line.targets, line.tags) == (LABEL, "shop.example, ...", 2, ())


def test_no_value_of_a_request_reads_as_its_hosts(step_harness):
    step_harness.create_run(each=URLS, label='x","host":"evil')
    assert step_harness.run(WriteIntent(step_harness.claim_part(seconds=LEASE), "n", LEASE, account="me"))
    [line] = step_harness.run(ReadLedgerDay(int(step_harness.clock.time() // 86_400)))
    assert line.hosts == "shop.example, ..."


@pytest.mark.parametrize(("more", "tags"), [("", ()), (" shop:7,eu", ("shop:7", "eu"))])
def test_line_of_an_older_version_has_no_label(more, tags):
    line = Purchase.parse("r:0:1", f"5.0 open 2 2 job 0 {more}")
    assert (line.tags, line.label, line.hosts) == (tags, None, "")


def test_log_records_of_a_step_name_the_run(step_harness, caplog):
    async def fail(context, claim):
        raise OSError("unplugged")

    step_harness.create_run(each=URLS, label=LABEL)
    with caplog.at_level(logging.WARNING):
        run_step(step_harness.app, StepDefinition(Step.POLL, {PartState.QUEUED}, fail), ["r:0"])
    (record,) = [one for one in caplog.records if one.name.startswith("scrape_do_celery")]
    assert (record.event, record.label, record.hosts, record.targets) == ("step_failed", LABEL, "shop.example, ...", 2)
    assert log_fields("after")["label"] is None


def test_each_part_of_a_message_has_the_names_of_its_run(step_harness):
    seen = {}

    async def handler(context, claim):
        seen[claim.part_id.run_id] = log_fields("x")["label"]
        await context.release_until(claim, {}, 60.0)

    for label in "ab":
        step_harness.create_run(label, label=label)
    step_harness.create_run("plain")
    run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, handler), ["a:0", "b:0", "plain:0"])
    assert seen == {"a": "a", "b": "b", "plain": None}


def labeled_runs(step_harness):
    found = {}
    add_live_runs(found, 0.0, LiveRunCounter(step_harness.app_context.store).count_once(), 0.0)
    return found["scrape_do_labeled_runs"]


def test_metric_counts_live_runs_by_label_once_each(step_harness):
    step_harness.create_run("a", label="prices")
    step_harness.create_multi_part_run(3, "b", label="prices")
    step_harness.create_run("c", label=LABEL, start_delay=60)
    step_harness.create_run("d")
    step_harness.create_run("e", label="done")
    step_harness.finish_part("e")
    step_harness.run(RecordOutcome("e", "succeeded", {}))
    # The outcome of the last run waits for its delivery.
    assert labeled_runs(step_harness) == {("prices",): 2, (LABEL,): 1, ("done",): 1}


def test_metric_bounds_the_labels(step_harness):
    for n in range(MAX_NAMES + 5):
        step_harness.create_run(f"r{n}", label=f"label {n:03}")
    step_harness.create_run("one more", label="label 000")
    found = labeled_runs(step_harness)
    assert len(found) == MAX_NAMES + 1
    assert (found["label 000",], found[OTHER,]) == (2, 5)
