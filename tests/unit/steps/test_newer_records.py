"""Test that a process leaves runs alone whose records a newer version of this package wrote."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from celery.exceptions import Reject

from scrape_do_celery.contrib.django.live_waits import refresh_waits
from scrape_do_celery.diagnostics import check_record_versions
from scrape_do_celery.errors import IdempotencyConflictError, NewerRecordError, ScrapeDoError
from scrape_do_celery.findings import WARNING
from scrape_do_celery.routing import Step
from scrape_do_celery.runs import RunHandle, retry_failed
from scrape_do_celery.signals import run_changed
from scrape_do_celery.steps import requeue
from scrape_do_celery.steps.aggregate import decide_runs
from scrape_do_celery.steps.celery_results import cancel_revoked_run
from scrape_do_celery.steps.deliver import acknowledge_waiter
from scrape_do_celery.steps.isolation import Isolation
from scrape_do_celery.steps.once import OnceFilter
from scrape_do_celery.steps.runner import StepDefinition, _run_parts
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.commands.creation import AcceptRun, CreateRun, ScheduleTick
from scrape_do_celery.store.commands.dispatch import NEWER_PATIENCE, REDISPATCH_MAX, REDISPATCH_MIN
from scrape_do_celery.store.commands.parts import NewerRecord, PoisonPolicy
from scrape_do_celery.store.commands.runs import ReadOutcome, ReadSpec
from scrape_do_celery.tasks import deliver_outcome
from scrape_do_celery.worker.dispatcher import Dispatcher
from scrape_do_celery.worker.notifier import ChangeNotifier
from tests.support.module_sleep import replace_sleep

NEWER = 2


@pytest.fixture(autouse=True)
def unwarned(monkeypatch):
    """Let each test be the first to warn."""
    monkeypatch.setattr("scrape_do_celery.steps.waiting_parts._newer", OnceFilter())


@pytest.fixture
def newer(step_harness):
    """Return the harness with a run `r` of a newer version."""
    step_harness.create_run(max_wait=60)
    step_harness.redis.hset(step_harness.keys.run("r"), "v", NEWER)
    return step_harness


def end_run(step_harness):
    step_harness.redis.hdel(step_harness.keys.run("r"), "v")
    step_harness.finish_part()
    step_harness.redis.hset(step_harness.keys.run("r"), "v", NEWER)


def records_of(step_harness):
    """Return the fields of all runs and parts."""
    return {
        key: step_harness.redis.hgetall(key)
        for kind in ("run", "part")
        for key in sorted(step_harness.redis.scan_iter(f"{step_harness.keys.prefix}:{kind}:*"))
    }


def run_step_on(step_harness, handler, *names, states=PartState):
    """Run a step through its runner, as a message with these parts does."""
    definition = StepDefinition(Step.SUBMIT, set(states), handler, 30.0)

    async def go(context, _):
        context.isolation = Isolation()
        await _run_parts(context, [PartId.parse(name) for name in names], definition)

    step_harness.run_step(go, None)


def test_a_record_of_version_1_has_no_field_for_it(store, monkeypatch):
    store.create_run("one")
    assert "v" not in store.run_fields("one")
    monkeypatch.setattr("scrape_do_celery.store.versions.RECORD_VERSION", NEWER)
    store.create_run("two")
    assert store.run_fields("two")["v"] == str(NEWER)
    assert store.read_run("two").parts[0].state == PartState.QUEUED


def test_a_record_whose_version_is_written_out_is_read(store):
    """Read the records of earlier releases, which have the field."""
    store.create_run()
    store.redis.hset(store.keys.run("r"), "v", 1)
    assert store.claim_part().part.attempts == 1
    assert store.read_run().state == PartState.QUEUED


@pytest.mark.parametrize("state", list(PartState))
def test_a_step_leaves_a_part_of_a_newer_run_alone(newer, state, caplog):
    newer.force_state(state=state)
    before, handled = records_of(newer), []

    async def handler(_, claim):
        handled.append(claim)

    for _ in range(newer.settings.poison_after + 7):
        run_step_on(newer, handler, "r:0")
        newer.clock.forward(10)
    assert handled == []
    assert records_of(newer) == before
    assert caplog.text.count("runs wait for a worker of a newer version") == 1
    assert "have version 2, and this worker reads version 1" in caplog.text


def test_no_number_of_claims_poisons_a_newer_run(newer):
    newer.set_fields(attempts=9)
    policy = PoisonPolicy(3, skip_unsent=True)
    assert newer.try_claim_part(poison=policy) == NewerRecord(NEWER)
    newer.redis.hdel(newer.keys.run("r"), "v")
    assert newer.part().outcome is None


def test_the_first_messages_of_a_newer_run_are_given_back_soon(newer):
    newer.redis.zadd(newer.keys.due, {"r:0": newer.clock.time() + REDISPATCH_MAX})
    newer.try_claim_part()
    assert 0 < newer.due_parts()["r:0"] <= REDISPATCH_MIN
    newer.redis.zadd(newer.keys.due, {"r:0": newer.clock.time() + REDISPATCH_MAX})
    newer.set_fields(dispatches=9)
    newer.try_claim_part()
    assert newer.due_parts()["r:0"] > REDISPATCH_MIN


def test_a_newer_run_keeps_the_lease_of_its_worker(newer):
    newer.set_fields(lease=newer.clock.time() + 60, token="of the newer worker")
    due = newer.due_parts()["r:0"]
    assert newer.try_claim_part() is None
    assert newer.due_parts()["r:0"] == pytest.approx(due, abs=1)


def test_an_older_dispatcher_leaves_newer_runs_to_newer_ones_for_a_time(newer):
    newer.create_run("mine")
    newer.clock.forward(60)
    before = records_of(newer)
    due = newer.claim_due()
    assert [part.part_id.run_id for part in due.parts] == ["mine"]
    assert due.runs == ()
    assert {k: v for k, v in records_of(newer).items() if b"mine" not in k} == {
        k: v for k, v in before.items() if b"mine" not in k
    }


def test_newer_runs_without_newer_workers_keep_nothing_else_waiting(newer):
    """Put newer entries off, so that they do not fill each look at the head of the due set."""
    assert newer.claim_due(limit=2).parts == ()
    newer.clock.forward(60 + NEWER_PATIENCE)
    newer.create_run("mine")
    newer.clock.forward(REDISPATCH_MIN + 1)
    assert newer.claim_due(limit=2).parts == ()
    assert [part.part_id.run_id for part in newer.claim_due(limit=2).parts] == ["mine"]
    assert newer.due_parts()["r:0"] == pytest.approx(REDISPATCH_MAX, abs=1)


def test_a_dispatcher_acts_on_no_newer_run(newer, monkeypatch):
    newer.clock.forward(100)
    before = records_of(newer)
    dispatcher = Dispatcher(newer.app_context)
    monkeypatch.setattr("scrape_do_celery.worker.dispatcher.revoked", {"r"})
    dispatcher.dispatch_due()
    assert records_of(newer) == before
    assert newer.step_messages() == []
    cancel_revoked_run(newer.app_context, "r")
    assert records_of(newer) == before


def test_no_step_decides_a_newer_run(newer, caplog):
    end_run(newer)
    newer.create_run("mine")
    newer.finish_part("mine")
    before = records_of(newer)
    newer.run_step(lambda context, _: decide_runs(context, ["r", "mine", "r"]), None)
    assert newer.read_run("mine").outcome == "succeeded"
    assert {k: v for k, v in records_of(newer).items() if b"mine" not in k} == {
        k: v for k, v in before.items() if b"mine" not in k
    }
    assert caplog.text.count("runs wait for a worker of a newer version") == 1
    assert "could not decide" not in caplog.text


def test_messages_for_newer_runs_go_back_to_the_broker(newer, scrape_task, monkeypatch, caplog):
    replace_sleep(monkeypatch, requeue, lambda _: None)
    before, deliver = records_of(newer), newer.app.tasks[deliver_outcome.name]
    for step, run in (
        (scrape_task, lambda: scrape_task.run(run_id="r")),
        (deliver, lambda: deliver.run("r")),
    ):
        step.push_request(id="waits", args=["r"])
        with pytest.raises(Reject) as caught:
            run()
        step.pop_request()
        assert caught.value.requeue
    acknowledge_waiter(newer.app_context, "r", "r", "SUCCESS")
    assert records_of(newer) == before
    assert caplog.text.count("runs wait for a worker of a newer version") == 1


@pytest.mark.parametrize("if_running", ["skip", "queue", "cancel_previous"])
def test_a_tick_does_not_decide_about_the_newer_run_of_its_schedule(step_harness, if_running):
    step_harness.create_run("r", tick=ScheduleTick("daily", "1", if_running))
    spec = step_harness.run(ReadSpec("r", 1))
    step_harness.redis.hset(step_harness.keys.run("r"), "v", NEWER)
    before = step_harness.dump_keys()
    with pytest.raises(NewerRecordError) as caught:
        step_harness.run(CreateRun("s", spec, tick=ScheduleTick("daily", "2", if_running)))
    assert (caught.value.run_id, caught.value.version) == ("r", NEWER)
    assert step_harness.dump_keys() == before


def test_a_newer_run_is_announced_by_newer_workers(newer, make):
    newer.create_run("mine")
    newer.clock.forward(60)
    told = []

    def receive(sender, status, **_):
        told.append(status.run_id)

    run_changed.connect(receive)
    try:
        ChangeNotifier(newer.app_context).notify_once()
    finally:
        run_changed.disconnect(receive)
    assert told == ["mine"]
    assert newer.redis.zrange(newer.keys.changed, 0, -1) == [b"r"]


def test_the_admin_keeps_the_last_reason_of_a_newer_run(newer, start_run):
    newer.note_worker()
    rows = [SimpleNamespace(run_id=run_id, ended=None, waiting_for="before") for run_id in ("r", "unknown")]
    refresh_waits(rows)
    assert [row.waiting_for for row in rows] == ["before", None]


@pytest.mark.parametrize(
    "call",
    [
        lambda handle: handle.status,
        lambda handle: handle.state,
        lambda handle: handle.progress,
        lambda handle: handle.jobs,
        lambda handle: handle.result(timeout=0),
        lambda handle: list(handle.iter_tasks(partial=True)),
        lambda handle: handle.cancel(),
        lambda handle: handle.forget(),
        lambda handle: retry_failed("r"),
    ],
)
def test_a_handle_of_a_newer_run_raises_a_typed_error(newer, start_run, call):
    before = records_of(newer)
    with pytest.raises(NewerRecordError) as caught:
        call(RunHandle("r", app_context=newer.app_context))
    error = ScrapeDoError.from_json(json.loads(json.dumps(caught.value.to_json())))
    assert (type(error), error.run_id, error.version) == (NewerRecordError, "r", NEWER)
    assert "a newer version of scrape-do-celery wrote the record (version 2; this process reads version 1)" in str(
        error
    )
    assert str(error).endswith("upgrade the package in this process")
    assert records_of(newer) == before


def test_a_newer_run_takes_no_waiter_and_its_end_is_not_awaited(newer):
    for command in (AcceptRun("r", "waiter"), ReadOutcome("r")):
        with pytest.raises(NewerRecordError):
            newer.run(command)


def test_a_key_of_a_newer_run_is_still_a_conflict(step_harness, start_run):
    handle = start_run(["https://a.example/"], idempotency_key="k")
    step_harness.redis.hset(step_harness.keys.run(handle.run_id), "v", NEWER)
    told = []

    def receive(sender, status, **_):
        told.append(status.run_id)

    run_changed.connect(receive)
    try:
        assert start_run(["https://a.example/"], idempotency_key="k").run_id == handle.run_id
    finally:
        run_changed.disconnect(receive)
    assert told == []
    with pytest.raises(IdempotencyConflictError, match="a newer version of scrape-do-celery wrote the record"):
        start_run(["https://b.example/"], idempotency_key="k")


def test_doctor_tells_of_newer_runs(newer):
    newer.create_run("mine")
    newer.create_run("draft", start_delay=60)
    newer.redis.hset(newer.keys.run("draft"), "v", NEWER)
    (found,) = check_record_versions(newer.sync_store)
    assert found.level == WARNING
    assert "2 run(s) have records of version 2, and this process reads version 1" in found.text
    newer.redis.hdel(newer.keys.run("r"), "v")
    newer.redis.hdel(newer.keys.run("draft"), "v")
    assert list(check_record_versions(newer.sync_store)) == []
