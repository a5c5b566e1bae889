"""A store at its memory limit: records still move on, so that nothing is poisoned; pages and new runs are refused."""

from __future__ import annotations

import time
import uuid

import pytest

from scrape_do_celery import embedded
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.models import JobCreationRequest, JobDetails, TaskDetails
from scrape_do_celery.store import Lives, Member, PartState, RunSpec, Store, ops
from scrape_do_celery.store.codec import pack

MEMBER = Member("r", 0)
POISON = ops.Poison(3, stop=True)


@pytest.fixture
def store(tmp_path):
    """A running part of one task, in a store that has just become full."""
    with embedded.ensure(tmp_path / "store", tie_to_parent=True) as server:
        one = Store.open(server.url, "p")
        one.run(ops.create(one.keys, "r", spec()))
        job = JobDetails(job_id="j", status="pending", task_ids=["t"])
        fields = {"state": "running", "job": "j", "tasks": pack(["t"]), "booked": "bought"}
        one.run(ops.update(one.keys, take(one, seconds=30), fields, after=0.0, owner="j", job=job))
        one.client.config_set("maxmemory", int(one.client.info("memory")["used_memory"]) - 1000)
        yield one
        one.close()


def spec():
    return RunSpec(JobCreationRequest(targets=["https://a.example/1"]))


def take(store, seconds=0.05):
    return store.run(
        ops.claim(store.keys, MEMBER, uuid.uuid4().hex, seconds=seconds, states=list(PartState), poison=POISON)
    )


def test_looks_go_on_for_as_long_as_it_takes(store):
    for polls in range(3 * POISON.after):
        claim = take(store)
        assert claim.part.state is PartState.RUNNING
        assert store.run(ops.renew(store.keys, claim, 0.05))
        assert store.run(ops.update(store.keys, claim, {"polls": polls}, after=0.0)) == "ok"
        assert store.run(ops.claim_due(store.keys, limit=10, cap=10)) is not None
        time.sleep(0.01)
    assert store.run(ops.pause(store.keys, 1.0)) > 0
    assert store.run(ops.open_breaker(store.keys, "account"))


def test_pages_and_new_runs_are_refused(store):
    page = TaskDetails(task_id="t", job_id="j", status="success", content="page")
    for op in (ops.put(store.keys, MEMBER, 0, page), ops.create(store.keys, "another", spec())):
        with pytest.raises(StoreUnavailableError):
            store.run(op)
    gone = page.model_copy(update={"gone": True, "status": "error", "content": None})
    assert store.run(ops.put(store.keys, MEMBER, 0, gone)) == 1


def test_a_run_can_be_canceled_and_ended_and_freed(store):
    assert store.run(ops.wish(store.keys, "r", "cancel")) == [MEMBER]
    assert store.run(ops.settle(store.keys, take(store, seconds=30), "canceled")) == 0
    assert store.run(ops.attempt(store.keys, "r")) == 1
    assert store.run(ops.decide(store.keys, "r", "canceled", {})) == "canceled"
    assert store.run(ops.delivered(store.keys, "r", "r", Lives(60, 60, 60))) == 0
    assert store.run(ops.forget(store.keys, "r")) == 1
