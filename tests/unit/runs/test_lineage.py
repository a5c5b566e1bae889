"""Test that a run has one child, that no page is bought twice, and that the runs of a lineage expire together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from scrape_do_celery import (
    BudgetExceededError,
    IdempotencyConflictError,
    ResultExpiredError,
    ResultNotReadyError,
    RunError,
    RunHandle,
    RunNotFoundError,
    StoreUnavailableError,
    enqueue,
    retry_failed,
)
from scrape_do_celery.runs.hooks import override_hooks
from scrape_do_celery.runs.retry import draft_child
from scrape_do_celery.store import CANCEL, Keys, PartId, Retention, RunSpec
from scrape_do_celery.store.commands.creation import AcceptRun, CreateRun
from scrape_do_celery.store.commands.runs import (
    AcknowledgeDelivery,
    ForgetRun,
    ReadLineage,
    ReadSpec,
    RecordOutcome,
    RequestStop,
)
from scrape_do_celery.store.commands.stats import ReadEncryptionKeys
from scrape_do_celery.store.encryption import ENCRYPTED_PREFIX, Encryptor

RETENTION = Retention(100, 200, 300)


@pytest.fixture(autouse=True)
def app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    return step_harness


@pytest.fixture
def end(app, end_run):
    """Return a function that ends a run of one part, as `end_run` does, and takes its messages."""

    def end(run_id, *pages, outcome="succeeded", deliver=True):
        end_run(run_id, *pages, outcome=outcome, retention=RETENTION if deliver else None)
        app.step_messages()

    return end


@pytest.fixture
def first(app, end):
    """Return the id of an ended and delivered run whose first of three targets has a page."""
    app.create_run(targets=3)
    end("r", True, False, False)
    return "r"


def targets(app, run_id):
    return app.run(ReadSpec(run_id, 1)).request.targets


def lives(app, *run_ids):
    """Return the seconds of life of the keys of some runs; None for keys that do not expire."""
    kinds = ("run", "part", "job", "contents")
    return {
        name: life for name, life in app.ttls().items() if name.split(":")[1] in kinds and name.split(":")[2] in run_ids
    }


# One retry at a time


def test_live_retry_is_the_retry_and_the_next_call_after_its_end_makes_the_next(app, first, end, make):
    second = retry_failed(first).run_id
    assert targets(app, second) == make.urls(2, 1)
    assert retry_failed(first).run_id == second
    end(second, True, False)
    third = retry_failed(first).run_id
    assert third not in {first, second}
    assert targets(app, third) == make.urls(1, 2)
    assert {retry_failed(run_id).run_id for run_id in (first, second)} == {third}
    end(third, True)
    for run_id in (first, second, third):
        with pytest.raises(RunError, match="nothing is bought again"):
            retry_failed(run_id)
    assert app.run(ReadLineage(second)) == [first, second, third]


def test_live_run_is_not_retried(app, first):
    app.create_run("live")
    for run_id in ("live", retry_failed(first).run_id):
        before = app.run_ids()
        with pytest.raises(ResultNotReadyError):
            retry_failed(run_id)
        assert app.run_ids() == before


def test_ten_generations_buy_each_page_once(app, end, make):
    app.create_run(targets=10)
    run_id, bought = "r", []
    for left in range(10, 0, -1):
        assert targets(app, run_id) == make.urls(left, 10 - left)
        bought.append(run_id)
        end(run_id, True, *[False] * (left - 1))
        if left > 1:
            run_id = retry_failed("r").run_id
    merged = RunHandle(run_id).merged()
    assert merged.lineage == tuple(bought)
    assert [entry.run_id for entry in merged.entries] == bought
    assert {entry.target for entry in merged.succeeded} == set(make.urls(10))


@pytest.mark.parametrize("stop", [CANCEL, "deadline"])
def test_stopped_retry_is_followed_by_the_next(app, first, end, make, stop):
    """What was fetched before the stop is not bought again, and what was never sent is."""
    second = retry_failed(first).run_id
    app.run(RequestStop(second, stop))
    app.run(RecordOutcome(second, "canceled", {}))
    third = retry_failed(first).run_id
    assert targets(app, third) == make.urls(2, 1)
    end(third, True, False, outcome="timed_out")
    assert targets(app, retry_failed(first).run_id) == make.urls(1, 2)


@pytest.mark.parametrize("outcome", ["in_doubt", "poisoned"])
def test_lineage_is_not_retried_while_its_newest_purchase_is_in_doubt(app, first, outcome):
    second = retry_failed(first).run_id
    app.set_fields(second, purchases=1)
    app.finish_part(second, outcome=outcome)
    app.run(RecordOutcome(second, outcome, {}))
    before = app.run_ids()
    for run_id in (first, second):
        with pytest.raises(RunError, match=f"run {second} may have bought a job"):
            retry_failed(run_id)
    assert app.run_ids() == before


# Callers that race, die, or get no answer


def test_callers_at_once_get_one_retry(app, first):
    barrier = threading.Barrier(8)

    def call(_):
        draft = draft_child(first)
        barrier.wait(30)
        return draft.start().run_id

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(call, range(8)))
    assert len(found) == 1
    assert app.run_ids() == {first, *found}


@pytest.mark.parametrize("has_key", [True, False])
def test_slow_caller_gets_the_retry_that_another_caller_made_and_ended(app, first, end, has_key):
    """Between the reading and the writing of the slow caller, the pages that it wants to buy are bought."""
    slow = draft_child(first)
    second = retry_failed(first).run_id
    end(second, True, True)
    if not has_key:
        app.redis.delete(app.keys.idempotency("retry of r"))
    assert slow.start().run_id == second
    assert app.run_ids() == {first, second}


def test_another_request_for_the_same_parent_makes_no_second_retry(app, first):
    one, other = draft_child(first), draft_child(first, max_credits=500)
    assert one.start().run_id == other.start().run_id
    assert app.run(ReadSpec(one.start().run_id, 1)).max_credits is None


def test_command_that_is_sent_twice_makes_one_retry(app, first):
    spec = draft_child(first).spec
    command = CreateRun("again", spec, key="retry of r", parent=first)
    assert app.run(command).new
    assert app.run(command).run_id == "again"
    assert app.run(ReadLineage(first)) == [first, "again"]


@pytest.mark.parametrize("is_carried_out", [True, False])
def test_call_is_repeated_without_a_second_retry_if_the_answer_was_lost(app, first, monkeypatch, is_carried_out):
    store = app.app_context.store
    run_all = store.run_all

    def lose_answer(commands):
        if not isinstance(commands[0], CreateRun):
            return run_all(commands)
        if is_carried_out:
            run_all(commands)
        raise StoreUnavailableError("no answer", "", [], True)

    with monkeypatch.context() as patch:
        patch.setattr(store, "run_all", lose_answer)
        with pytest.raises(StoreUnavailableError):
            retry_failed(first)
    assert len(app.run_ids()) == 1 + is_carried_out
    again = retry_failed(first).run_id
    assert app.run_ids() == {first, again}


def test_retry_of_a_caller_who_died_before_the_message_is_carried_out(app, first):
    app.run(CreateRun("again", draft_child(first).spec, parent=first))
    assert app.step_messages() == []
    app.clock.forward(60)
    assert "again:0" in {str(part.part_id) for part in app.claim_due().parts}


@pytest.mark.parametrize("first_commit", ["a", "b"])
def test_transactions_have_one_retry(app, first, first_commit):
    commits = {"a": [], "b": []}

    def call(name):
        with override_hooks(lambda hooks: replace(hooks, after_commit=lambda: commits[name].append)):
            return retry_failed(first).run_id

    found = {call("a"), call("b")}
    assert app.run_ids() == {first}
    for name in sorted(commits, reverse=first_commit == "b"):
        for act in commits[name]:
            act()
    assert app.run_ids() == {first, *found}
    assert app.run(ReadLineage(first)) == [first, *found]


def test_rollback_leaves_no_retry(app, first):
    with override_hooks(lambda hooks: replace(hooks, after_commit=lambda: lambda act: None)):
        retry_failed(first)
    assert app.run(ReadLineage(first)) == [first]
    assert retry_failed(first).run_id in app.run_ids()


def test_parent_that_is_forgotten_before_the_commit_is_not_retried(app, first, caplog):
    commits = []
    with override_hooks(lambda hooks: replace(hooks, after_commit=lambda: commits.append)):
        retry_failed(first)
    app.run(ForgetRun(first))
    commits[0]()
    assert "child of a run was not created: run r was forgotten" in caplog.text
    assert app.run_ids() == set()
    assert app.step_messages() == []


@pytest.mark.parametrize("lost", ["run", "contents", "part"])
def test_parent_that_was_lost_meanwhile_is_not_retried(app, first, lost):
    """The pages that the caller has read are paid for. If they are gone, a retry would not complete them."""
    draft = draft_child(first)
    app.redis.delete(app.keys.run("r") if lost == "run" else getattr(app.keys, lost)(PartId("r", 0)))
    with pytest.raises(ResultExpiredError, match="nothing was bought"):
        draft.start()
    assert app.run_ids() <= {first}
    assert app.step_messages() == []


def test_lineage_that_has_lost_pages_of_an_earlier_run_is_not_retried(app, first, end):
    """The newest run has no page that could be lost. A retry would not complete the pages of the run before it."""
    second = retry_failed(first).run_id
    app.finish_part(second, outcome="failed")
    app.run(RecordOutcome(second, "failed", {}))
    draft = draft_child(first)
    app.redis.delete(app.keys.contents(PartId(first, 0)))
    with pytest.raises(ResultExpiredError, match=f"run {first} .* nothing was bought"):
        draft.start()
    assert app.run_ids() == {first, second}


def test_run_whose_child_has_expired_is_not_retried(app, first):
    """The child of a kept run is gone. A handle of it would find nothing, and its pages may have been paid for."""
    second = retry_failed(first).run_id
    app.redis.delete(app.keys.run(second), app.keys.part(PartId(second, 0)))
    with pytest.raises(ResultExpiredError, match=f"run {second} .* nothing was bought"):
        retry_failed(first)
    assert app.run_ids() == {first}


# Older versions


def acknowledge_as_older_worker(app, run_id):
    """Let one run expire after its delivery, as a worker of a version without lineages does."""
    app.redis.hdel(app.keys.run(run_id), f"waiter:{run_id}")
    app.redis.hset(app.keys.run(run_id), "waiting", 0)
    app.redis.zrem(app.keys.due, f"{run_id}:run")
    for kind, life in (("part", 200), ("job", 200), ("contents", 100)):
        app.redis.expire(getattr(app.keys, kind)(PartId(run_id, 0)), life)
    app.redis.expire(app.keys.run(run_id), 200)


@pytest.mark.parametrize("seconds", [0, 300])
def test_lineage_whose_last_run_an_older_worker_delivers_expires(app, first, end, seconds):
    second = retry_failed(first).run_id
    end(second, True, False, deliver=False)
    acknowledge_as_older_worker(app, second)
    app.clock.forward(seconds)
    assert set(lives(app, first).values()) == {None}
    handed_out = set()
    for _ in range(4):
        # Each second, the dispatcher checks another run.
        handed_out |= {run.run_id for run in app.claim_due().runs}
        app.clock.forward(1)
    assert first in handed_out
    app.run(AcknowledgeDelivery(first, "", RETENTION))
    assert None not in lives(app, first).values()


def test_delivered_parent_of_a_live_child_gets_no_further_step(app, first):
    retry_failed(first)
    for _ in range(4):
        assert first not in [run.run_id for run in app.claim_due().runs]
        app.clock.forward(1)


def test_parent_that_an_older_worker_delivers_lives_as_long_as_its_child(app, end):
    app.create_run(targets=2)
    end("r", True, False, deliver=False)
    second = retry_failed("r").run_id
    acknowledge_as_older_worker(app, "r")
    app.claim_due()
    app.clock.forward(300)
    end(second, True)
    assert [entry.run_id for entry in RunHandle("r").merged().entries] == ["r", second]


def test_retry_of_an_older_version_is_not_bought_again(app, first, end):
    """That version has tied the run by its idempotency key only."""
    app.run(CreateRun("old", draft_child(first).spec, key="retry of r"))
    assert retry_failed(first).run_id == "old"
    assert app.run(ReadLineage(first)) == [first]
    end("old", True, False)
    assert retry_failed(first).run_id == "old"
    assert targets(app, retry_failed("old").run_id) == [f"https://shop.example/{2}"]


def test_key_of_another_request_is_a_conflict(app, first):
    enqueue(["https://other.example/"], idempotency_key="retry of r")
    before = app.run_ids()
    with pytest.raises(IdempotencyConflictError):
        retry_failed(first)
    assert app.run_ids() == before


# Options and budgets


def test_retry_has_the_options_of_the_run_and_its_own_limit(app, end):
    names = {"tags": ["shop:7"], "label": "prices", "fairness_key": "shop:7", "fairness_weight": 2, "priority": -1}
    spec = RunSpec.from_arguments(["https://a.example/", "https://b.example/"], max_credits=50, **names)
    app.run(CreateRun("r", spec))
    end("r", True, False)
    changed = draft_child("r", max_credits=20, max_wait=9).spec
    assert (changed.max_credits, changed.max_wait, changed.tags) == (20, 9, spec.tags)
    with pytest.raises(ValueError, match="no option 'max_credit'"):
        retry_failed("r", max_credit=20)
    with pytest.raises(ValueError, match="max_wait"):
        retry_failed("r", max_wait=-1)
    second = retry_failed("r").run_id
    assert app.run(ReadSpec(second, 1)).run_options == {**spec.run_options, "early": False, "webhook": False}
    assert app.run_fields(second)["max_mc"] == "50000"
    kept = ("tags", "label", "fair")
    assert [app.run_fields(second)[name] for name in kept] == ["shop:7", "prices", "-1 2.0 shop:7"]


def test_retry_over_its_limit_is_refused_and_the_next_call_is_not(app, first):
    with pytest.raises(BudgetExceededError):
        retry_failed(first, max_credits=0.5)
    assert app.run_ids() == {first}
    assert app.run(ReadLineage(retry_failed(first, max_credits=500).run_id))[0] == first


# How long a lineage lives


def test_pages_of_the_parent_stay_until_those_of_the_retry_expire(app, first, end):
    assert None not in lives(app, first).values()
    second = retry_failed(first).run_id
    assert set(lives(app, first, second).values()) == {None}
    app.clock.forward(1000)
    end(second, True, False, deliver=False)
    assert set(lives(app, first, second).values()) == {None}
    app.run(AcknowledgeDelivery(second, second, RETENTION))
    found = lives(app, first, second)
    assert len(found) == 8
    for name, life in found.items():
        assert life == pytest.approx(100 if ":contents:" in name else 200, abs=2)
    assert RunHandle(first).merged().lineage == (first, second)
    app.clock.forward(150)
    with pytest.raises(ResultExpiredError):
        retry_failed(first)
    app.clock.forward(100)
    assert app.run_ids() == set()


def test_late_delivery_of_the_parent_does_not_let_it_expire_before_the_retry(app, end):
    app.create_run(targets=2)
    end("r", True, False, deliver=False)
    second = retry_failed("r").run_id
    app.run(AcknowledgeDelivery("r", "r", RETENTION))
    assert set(lives(app, "r", second).values()) == {None}
    end(second, True)
    assert None not in lives(app, "r", second).values()


def test_waiter_of_the_parent_keeps_the_whole_lineage(app, first, end):
    second = retry_failed(first).run_id
    app.run(AcceptRun(first, "late", "s"))
    end(second, True, True)
    assert set(lives(app, first, second).values()) == {None}
    app.run(AcknowledgeDelivery(first, "late", RETENTION))
    assert None not in lives(app, first, second).values()


def test_forgotten_middle_run_leaves_the_others_joined(app, first, end, make):
    second = retry_failed(first).run_id
    end(second, True, False)
    third = retry_failed(first).run_id
    end(third, False)
    app.run(ForgetRun(second))
    assert app.run(ReadLineage(third)) == [first, third]
    # The page of the forgotten run was paid for, so it is not bought again.
    assert targets(app, retry_failed(first).run_id) == make.urls(1, 2)
    entries = RunHandle(first).merged(partial=True).entries
    assert [entry.run_id for entry in entries] == [first, first, third]


def test_forgotten_retry_leaves_its_parent_free(app, first, end):
    second = retry_failed(first).run_id
    end(second, False, False)
    app.run(ForgetRun(second))
    third = retry_failed(first).run_id
    assert third != second
    assert app.run(ReadLineage(third)) == [first, third]


@pytest.mark.parametrize("which", ["first", "second"])
def test_lineage_whose_last_undelivered_run_is_forgotten_expires(app, first, end, which):
    """Without the delivery of that run, nothing else would let the other run expire."""
    second = retry_failed(first).run_id
    if which == "first":
        app.run(AcceptRun(first, "late", "s"))
    end(second, True, True, deliver=which == "first")
    gone, left, waiter = (first, second, "late") if which == "first" else (second, first, second)
    app.run(ForgetRun(gone))
    assert set(lives(app, first, second).values()) == {None}
    app.run(AcknowledgeDelivery(gone, waiter, RETENTION))
    assert app.run_ids() == {left}
    assert None not in lives(app, left).values()


def test_parent_of_an_abandoned_child_expires(app, first):
    """No process can read the child, so it ends without a delivery."""
    second = retry_failed(first).run_id
    app.redis.hset(app.keys.run(second), "key", "lost")
    app.run(RequestStop(second, CANCEL))
    app.clock.forward(100)
    app.run(ForgetRun(second, grace=50))
    assert app.run_ids() == {first}
    assert [run.run_id for run in app.claim_due().runs] == [first]
    app.run(AcknowledgeDelivery(first, "", RETENTION))
    assert None not in lives(app, first).values()


def test_damaged_lineage_does_not_hold_the_server(app, first):
    app.redis.hset(app.keys.run(first), "child", first)
    app.redis.hset(app.keys.run(first), "parent", first)
    assert app.run(ReadLineage(first)) == [first]


def test_unknown_run_has_no_lineage(app):
    assert app.run(ReadLineage("r")) == []
    with pytest.raises(RunNotFoundError):
        retry_failed("r")


# Encryption


def test_pages_of_an_older_key_are_merged_and_the_key_counts_as_used(app, end):
    app.keys = app.app_context.store.keys = Keys("p", Encryptor([bytes(32)]))
    app.create_run(targets=2)
    end("r", True, False)
    (old,) = app.keys.key_names
    app.clock.forward(50)
    app.keys = app.app_context.store.keys = Keys("p", Encryptor([b"1" * 32, bytes(32)]))
    second = retry_failed("r").run_id
    used = app.run(ReadEncryptionKeys())
    assert used[old] == pytest.approx(app.clock.time(), abs=5)
    app.clock.forward(50)
    end(second, True)
    assert app.run(ReadEncryptionKeys())[old] == pytest.approx(app.clock.time(), abs=5)
    assert [entry.has_page for entry in RunHandle("r").merged().entries] == [True, True]
    assert app.redis.hget(app.keys.run(second), "targets:0:inputs")[:1] == ENCRYPTED_PREFIX
