"""Test `enqueue_many`: one run per request, in order, and nothing is written if one request is wrong."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery import routing
from scrape_do_celery.errors import IdempotencyConflictError, StoreUnavailableError
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.runs import AppContext, enqueue, enqueue_many
from scrape_do_celery.store import RunState


@pytest.fixture
def step_harness(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    return step_harness


def urls(number, count=1):
    return [f"https://shop.example/{number}/{place}" for place in range(count)]


def test_each_request_is_a_run_in_its_order(step_harness):
    requests = [urls(0), urls(1, 2), JobCreationRequest(targets=urls(2), super=True)]
    handles = enqueue_many(requests)
    assert len({handle.run_id for handle in handles}) == 3
    assert [handle.progress.total for handle in handles] == [1, 2, 1]
    assert {handle.state for handle in handles} == {RunState.QUEUED}
    [(step, names)] = step_harness.step_messages()
    assert (step, names) == (routing.SUBMIT_JOBS, [f"{handle.run_id}:0" for handle in handles])


def test_options_are_those_of_every_run(step_harness):
    handles = enqueue_many([urls(0), urls(1)], geo_code="us", max_wait=60.0)
    for handle in handles:
        spec = step_harness.claim_part(handle.run_id).spec()
        assert (spec.request.geo_code, spec.max_wait) == ("us", 60.0)


def test_many_runs_go_in_several_batches_and_messages(step_harness):
    handles = enqueue_many(urls(n) for n in range(450))
    assert len(handles) == 450
    messages = step_harness.step_messages()
    assert [len(names) for _, names in messages] == [50] * 9
    assert [name for _, names in messages for name in names] == [f"{handle.run_id}:0" for handle in handles]


@pytest.mark.parametrize(
    ("requests", "options", "named"),
    [
        ([urls(0), []], {}, r"request 1: .*targets"),
        ([urls(0), "https://shop.example/"], {}, r"request 1: .*targets"),
        ([urls(0)], {"geocode": "us"}, r"^no option 'geocode'; did you mean geo_code\?"),
        ([urls(0)], {"max_wait": 0}, "request 0: .*max_wait"),
        ([urls(0)], {"idempotency_keys": [""]}, "idempotency_key"),
        ([urls(0), urls(1)], {"idempotency_keys": "ab"}, "idempotency_keys must be a list of keys, not one string"),
        (
            [urls(0), urls(1)],
            {"idempotency_keys": {"a", "b"}},
            "idempotency_keys must be a list of .*their order counts",
        ),
        ("ab", {}, "requests must be a list of requests, not str"),
        (None, {}, "requests must be a list of requests, not NoneType"),
        (JobCreationRequest(targets=urls(0)), {}, "requests must be a list of requests, not JobCreationRequest"),
        ({("a", "b")}, {}, "requests must be a list of requests, not set"),
        ([urls(0), set(urls(1))], {}, "request 1: .*targets must be a list of .*their order counts"),
        ([urls(0), urls(1)], {"idempotency_keys": ["a"]}, "has 1 entries for 2 requests"),
        ([urls(0)], {"targets": urls(1)}, "^targets: the first argument of the call has the targets already"),
        ([JobCreationRequest(targets=urls(0))], {"Targets": urls(1)}, "^Targets: the first argument"),
        ([], {"targets": urls(1)}, "^targets: the first argument"),
    ],
)
def test_one_invalid_request_writes_nothing(step_harness, requests, options, named):
    with pytest.raises(ValueError, match=f"(?s){named}"):
        enqueue_many(requests, **options)
    assert step_harness.redis.keys() == []
    assert step_harness.sent == []


def test_keys_lead_to_the_same_runs(step_harness):
    first = enqueue_many([urls(0), urls(1)], idempotency_keys=["a", None])
    again = enqueue_many([urls(0), urls(1), urls(0)], idempotency_keys=["a", None, "a"])
    assert again[0].run_id == again[2].run_id == first[0].run_id
    assert again[1].run_id != first[1].run_id


def test_a_conflict_names_its_run_and_leaves_the_others_written(step_harness):
    held = enqueue(urls(0), idempotency_key="a")
    with pytest.raises(IdempotencyConflictError) as caught:
        enqueue_many([urls(1), urls(0)], idempotency_keys=[None, "a"], geo_code="us")
    assert caught.value.run_id == held.run_id
    assert caught.value.fields == ("geo_code",)
    assert len(step_harness.redis.keys(step_harness.keys.run("*"))) == 2


def test_a_store_that_is_away_is_told(step_harness, monkeypatch):
    def fail(*_, **__):
        raise RedisConnectionError("refused")

    with monkeypatch.context() as patch:
        patch.setattr("redis.client.Pipeline.execute", fail)
        patch.setattr("scrape_do_celery.store.pending._ATTEMPTS", 1)
        with pytest.raises(StoreUnavailableError) as caught:
            enqueue_many([urls(0), urls(1)])
    assert caught.value.may_be_written
    assert len(set(caught.value.run_ids)) == 2
    handles = enqueue_many([urls(0), urls(1)], run_ids=caught.value.run_ids)
    assert [handle.run_id for handle in handles] == list(caught.value.run_ids)


def test_there_is_a_run_id_for_each_request(step_harness):
    with pytest.raises(ValueError, match="run_ids has 1 entries for 2 requests"):
        enqueue_many([urls(0), urls(1)], run_ids=["a"])


def test_a_server_that_lost_its_scripts_gets_them_again(step_harness):
    enqueue(urls(0))
    step_harness.redis.script_flush()
    assert len(enqueue_many([urls(1), urls(2)])) == 2


def test_conflicting_key_does_not_start_its_run(step_harness, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda **_: step_harness.app_context)
    step_harness.create_run("later", key="k", start_delay=3600.0)
    requests = [[f"https://shop.example/{n}"] for n in range(450)]
    with pytest.raises(IdempotencyConflictError):
        enqueue_many(requests, idempotency_keys=["k"] + [None] * 449)
    assert step_harness.read_run("later").accepted is None
    assert not any("later:0" in names for _, names in step_harness.step_messages())
    assert len(list(step_harness.redis.scan_iter("p:run:*"))) == 450, "all the others were written"
