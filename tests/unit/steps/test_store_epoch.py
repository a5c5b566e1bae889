"""Test store epochs: a purchase is searched for if the store may have lost its intent."""

from __future__ import annotations

import pytest

from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.steps.unsent import DURABILITY_DELAY
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import RequestStop
from tests.unit.steps.conftest import LEASE, SERVER_ID, reconcile_until, show_jobs


def write_intent(step_harness, run_id="r", *, durable=True):
    claim = step_harness.claim_part(run_id, seconds=LEASE)
    process = SERVER_ID.decode() if durable else ""
    return step_harness.run(WriteIntent(claim, "n", LEASE, account=step_harness.account, durable_process=process))[0]


@pytest.fixture
def epoch_key(step_harness):
    return step_harness.keys.epoch


@pytest.fixture
def intent_options(step_harness):
    return {"account": step_harness.account, "durable_process": SERVER_ID.decode()}


def change_epoch(step_harness, key, life):
    """Begin another server process."""
    step_harness.redis.set(key, step_harness.redis.get(key).replace(SERVER_ID, life))
    step_harness.clock.forward(1)


@pytest.mark.parametrize(("lossless", "durable", "verdict"), [(False, True, "maybe_sent"), (True, True, "ok")])
def test_epoch_changes_only_if_the_previous_server_lost_writes(step_harness, lossless, durable, verdict):
    # The new primary syncs each write from now on. The one before it did not keep all writes.
    step_harness.create_run()
    step_harness.restart_server(lossless=lossless)
    step_harness.clock.forward(1)
    assert write_intent(step_harness, durable=durable) == verdict


def test_server_with_slow_clock_starts_a_new_epoch(step_harness):
    step_harness.create_run()
    step_harness.restart_server()
    step_harness.clock.forward(-5)
    step_harness.create_run("other", each=["https://other.example/"])
    step_harness.clock.forward(10)
    assert write_intent(step_harness, "other") == "ok"
    assert write_intent(step_harness) == "maybe_sent"


def test_deleted_epoch_key_counts_as_lost_writes(step_harness):
    """Delete the epoch key, as an operator does after restoring a backup. The server may be the same."""
    step_harness.create_run()
    step_harness.redis.delete(step_harness.keys.epoch)
    step_harness.clock.forward(1)
    assert write_intent(step_harness) == "maybe_sent"


def test_failover_and_failback_start_a_new_epoch(step_harness):
    """Fail over and back without a read in between: the server's id is that of the run's creation."""
    step_harness.create_run("first", each=["https://first.example/"])
    step_harness.restart_server()
    step_harness.create_run("second", each=["https://second.example/"])
    step_harness.create_run()
    step_harness.restart_server()
    step_harness.clock.forward(5)
    step_harness.create_run("third", each=["https://third.example/"])
    assert write_intent(step_harness, "third") == "ok"
    assert write_intent(step_harness) == "maybe_sent"


def test_runs_created_without_info_share_the_epoch(step_harness, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("fakeredis.commands_mixins.server_mixin.ServerCommandsMixin.info", lambda *_: b"")
        step_harness.create_run()
    step_harness.create_run("other", each=["https://other.example/"])
    step_harness.clock.forward(1)
    step_harness.redis.set(step_harness.keys.epoch, b"%s 0 e 0" % SERVER_ID)
    assert write_intent(step_harness) == "ok"
    step_harness.restart_server()
    assert write_intent(step_harness, "other") == "maybe_sent"


def test_server_without_info_is_never_trusted(step_harness, monkeypatch):
    monkeypatch.setattr("fakeredis.commands_mixins.server_mixin.ServerCommandsMixin.info", lambda *_: b"")
    step_harness.create_run()
    step_harness.clock.forward(1)
    assert step_harness.run(WriteIntent(step_harness.claim_part(seconds=LEASE), "n", LEASE))[0] == "maybe_sent"


def test_loss_two_epochs_ago_still_counts(step_harness, epoch_key, intent_options):
    step_harness.create_run()
    step_harness.redis.set(epoch_key, "aaa 0 aaa 0")
    step_harness.clock.forward(1)
    step_harness.create_run("other", each=["https://other.example/"])
    assert (
        step_harness.run(WriteIntent(step_harness.claim_part("other", seconds=LEASE), "n", LEASE, **intent_options))[0]
        == "ok"
    )
    change_epoch(step_harness, epoch_key, b"bbb")
    assert (
        step_harness.run(WriteIntent(step_harness.claim_part(seconds=LEASE), "n", LEASE, **intent_options))[0]
        == "maybe_sent"
    )


def test_without_lost_writes_no_search_is_needed(step_harness, epoch_key, intent_options):
    step_harness.redis.set(epoch_key, f"aaa {step_harness.clock.time():.4f} aaa 1")
    step_harness.clock.forward(1)
    step_harness.create_run()
    step_harness.clock.forward(1)
    assert (
        step_harness.run(WriteIntent(step_harness.claim_part(seconds=LEASE), "n", LEASE, **intent_options))[0] == "ok"
    )


def test_lost_durability_is_on_disk_before_the_next_intent(step_harness, epoch_key):
    step_harness.redis.set(epoch_key, b"%s 0 aaa 1" % SERVER_ID)
    step_harness.create_run()
    claim = step_harness.claim_part(seconds=LEASE)
    weak = WriteIntent(claim, "n", LEASE, account=step_harness.account)
    assert step_harness.run(weak)[0] == "durability_pending"
    change_epoch(step_harness, epoch_key, b"abc")
    strong = WriteIntent(claim, "n", LEASE, account=step_harness.account, durable_process=SERVER_ID.decode())
    assert step_harness.run(strong)[0] == "maybe_sent"


def test_process_that_follows_a_durable_one_is_on_disk_before_the_next_intent(step_harness):
    """Otherwise the note of the durable process could come back, without the intents of its successor."""
    step_harness.create_run()
    step_harness.restart_server(lossless=True)
    step_harness.clock.forward(1)
    assert write_intent(step_harness, durable=False) == "durability_pending"
    step_harness.clock.forward(LEASE + DURABILITY_DELAY)
    assert write_intent(step_harness, durable=False) == "ok"


def test_submit_waits_after_durability_was_lost(step_harness, epoch_key, make):
    step_harness.redis.set(epoch_key, b"%s 0 aaa 1" % SERVER_ID)
    step_harness.create_run()
    step_harness.health.durable = False
    step_harness.api.script(create_job=make.created("j"))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert (step_harness.part().state, step_harness.api.posts) == (PartState.QUEUED, 0)
    step_harness.clock.forward(DURABILITY_DELAY)
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert (step_harness.part().job_id, step_harness.api.posts) == ("j", 1)


def test_without_info_each_attempt_is_reconciled(step_harness, make, monkeypatch):
    monkeypatch.setattr("fakeredis.commands_mixins.server_mixin.ServerCommandsMixin.info", lambda *_: b"")
    step_harness.create_run()
    step_harness.clock.forward(1)
    first = WriteIntent(
        step_harness.claim_part(seconds=LEASE),
        "n",
        LEASE,
        account=step_harness.account,
    )
    assert step_harness.run(first)[0] == "maybe_sent"
    show_jobs(step_harness)
    assert reconcile_until(step_harness)
    step_harness.api.script(create_job=make.refusal(429))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    step_harness.clock.forward(60)
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert (step_harness.part().state, step_harness.api.posts) == (PartState.RECONCILING, 1)


def test_cancel_after_lost_writes_searches_for_the_job(step_harness, epoch_key, make):
    step_harness.create_run()
    step_harness.redis.set(epoch_key, "old 0 old 0")
    step_harness.clock.forward(5)
    step_harness.run(RequestStop("r", "cancel"))
    assert step_harness.part().state is PartState.QUEUED
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert step_harness.part().state is PartState.RECONCILING
    show_jobs(step_harness, make.job("queued", job_id="ours"))
    assert reconcile_until(step_harness, until=PartState.RUNNING)
    assert step_harness.part().job_id == "ours"
    assert step_harness.api.posts == 0


def test_cancel_without_lost_writes_ends_at_once(step_harness):
    step_harness.create_run()
    step_harness.run(RequestStop("r", "cancel"))
    assert (step_harness.part().state, step_harness.part().outcome) == (PartState.DONE, "canceled")


def test_job_of_a_canceled_run_is_not_adopted_by_another(step_harness, epoch_key, make):
    step_harness.create_run("b", request={"geo_code": "de"})
    step_harness.create_run("a", request={"geo_code": "us"})
    step_harness.redis.set(epoch_key, "old 0 old 0")
    step_harness.clock.forward(5)
    step_harness.run(RequestStop("b", "cancel"))
    claim = step_harness.claim_part("a", seconds=LEASE)
    answer = step_harness.run(WriteIntent(claim, "n", LEASE, account=step_harness.account))
    assert answer[0] == "maybe_sent"
    show_jobs(step_harness, make.job("queued", job_id="of-b"))
    reconcile_until(step_harness, "a", until=PartState.DONE)
    assert (step_harness.part("a").outcome, step_harness.part("a").job_id) == ("in_doubt", None)


def test_the_search_lasts_until_an_earlier_primary_takes_no_more_writes(step_harness, monkeypatch):
    """A primary that was replaced takes intents until it is demoted, so their jobs may appear later."""

    def search_seconds(run_id, delay):
        monkeypatch.setattr("scrape_do_celery.steps.job_search.demotion_delay", lambda _: delay)
        step_harness.create_run(run_id, each=[f"https://{run_id}.example/"])
        step_harness.restart_server()
        step_harness.clock.forward(1)
        assert write_intent(step_harness, run_id) == "maybe_sent"
        show_jobs(step_harness)
        began = step_harness.clock.time()
        assert reconcile_until(step_harness, run_id)
        return step_harness.clock.time() - began

    assert search_seconds("late", 500.0) > 500.0 > search_seconds("soon", 0.0)


@pytest.mark.parametrize(
    ("section", "fact", "other"),
    [
        (b"persistence", b"aof_enabled:1", b"aof_enabled:0"),
        (b"persistence", b"aof_rewrite_in_progress:0", b"aof_rewrite_in_progress:1"),
        (b"persistence", b"time_sec:-1", b"time_sec:0"),
        (b"replication", b"replid2:0000", b"replid2:00a0"),
        (b"persistence", b"aof_enabled:1", b""),
        (b"replication", b"master_replid2:0000", b""),
    ],
)
def test_process_that_did_not_read_the_log_may_lack_writes(step_harness, server_info, section, fact, other):
    """A dump that a durable process left may be old, and a promoted replica may have been cut off for long."""
    step_harness.create_run()
    step_harness.restart_server(lossless=True)
    server_info[section] = server_info[section].replace(fact, other)
    step_harness.clock.forward(1)
    assert write_intent(step_harness) == "maybe_sent"


@pytest.mark.parametrize(("earlier", "verdict"), [(b"0000", "ok"), (b"00a0", "maybe_sent")])
def test_process_that_was_a_replica_may_lack_writes(step_harness, server_info, epoch_key, earlier, verdict):
    """Give the same process another replication id: the first replica does, and so does a promotion."""
    step_harness.create_run()
    _, _, epoch, _, watched = step_harness.redis.get(epoch_key).split()
    step_harness.redis.set(epoch_key, b"%s-aaa 0 %s 1 %s" % (SERVER_ID, epoch, watched))
    server_info[b"replication"] = server_info[b"replication"].replace(b"0000", earlier) + b"master_replid:bbb\r\n"
    step_harness.clock.forward(1)
    assert write_intent(step_harness) == verdict


@pytest.mark.parametrize(
    ("section", "fact", "other"),
    [
        (b"persistence", b"aof_enabled:1", b"aof_enabled:0"),
        (b"replication", b"role:master", b"role:slave"),
        (b"replication", b"connected_slaves:0", b"connected_slaves:1"),
        (b"replication", b"backlog_active:0", b"backlog_active:1"),
        (b"server", SERVER_ID, b"feedfeedfeedfeed"),
        (b"persistence", b"aof_enabled:1", b""),
        (b"replication", b"connected_slaves:0", b""),
    ],
)
def test_answer_that_became_wrong_a_moment_ago_vouches_for_nothing(
    step_harness, server_info, epoch_key, section, fact, other
):
    """An answer of `StoreHealth` is up to two seconds old, and may be that of another server at the same address."""
    server_info[section] = server_info[section].replace(fact, other)
    process = server_info[b"server"].partition(b":")[2].strip()
    step_harness.redis.set(epoch_key, b"%s 0 aaa 1" % process)
    step_harness.create_run()
    assert write_intent(step_harness) == "durability_pending"
    assert step_harness.redis.get(epoch_key).split()[3] != b"1"
