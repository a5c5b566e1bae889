"""Schedules: checked when they are declared; each tick one run; what happens while one goes on."""

from __future__ import annotations

from contextlib import suppress

import pytest
from celery.schedules import crontab

from scrape_do_celery import routing
from scrape_do_celery.runs import scheduled_run
from scrape_do_celery.runs.starting import start_tick
from scrape_do_celery.store import RunState, ops

URLS = ["https://shop.example/1"]
REQUEST = {"targets": URLS}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": " "}, "name"),
        ({"schedule": "daily"}, "schedule"),
        ({"targets": ["nonsense"]}, r"targets\[0\]"),
        ({"geo_code": "usa"}, "geo_code"),
        ({"max_wait": -1}, "max_wait"),
        ({"if_running": "wait"}, "if_running"),
        ({"headers": {"A": "b"}}, "headers.*credentials"),
        ({"set_cookies": "a=b"}, "set_cookies.*credentials"),
    ],
)
def test_a_wrong_one_is_named_when_it_is_declared(change, named):
    with pytest.raises(ValueError, match=named):
        scheduled_run(**{"name": "prices", "schedule": 60, "targets": URLS, **change})


def test_an_entry_is_plain_json_without_secrets():
    when = crontab(minute=0)
    entry = scheduled_run("prices", when, iter(URLS), credentials="shop", geo_code="us", early=False, max_wait=60)
    assert entry == {
        "task": routing.SCHEDULED_RUN,
        "schedule": when,
        "kwargs": {
            "name": "prices",
            "rule": {"cron": ["0", "*", "*", "*", "*"]},
            "if_running": "skip",
            "request": {
                "targets": URLS,
                "geo_code": "us",
                "max_wait": 60,
                "early": False,
                "raise_on_task_failure": False,
                "credentials": "shop",
            },
        },
    }


@pytest.fixture
def tick(plant):
    def one(name, if_running="skip", **request):
        return start_tick(plant.producer, "prices", name, if_running, {**REQUEST, **request})

    return one


def test_a_tick_is_one_run(plant, tick):
    first = tick("t1")
    assert tick("t1") == first
    assert plant.view(first).state is RunState.QUEUED
    plant.finish(first)
    plant.run(ops.decide(plant.keys, first, "succeeded", {}))
    assert tick("t1") == first
    assert tick("t2") not in {None, first}


def test_while_one_goes_on_the_next_is_left_out(plant, tick):
    first = tick("t1")
    assert tick("t2") is None
    assert tick("t1") == first


def test_while_one_goes_on_the_next_waits(plant, tick):
    first, second = tick("t1", "queue"), tick("t2", "queue")
    third = tick("t3", "queue")
    assert [tick(name, "queue") for name in ("t1", "t2", "t3")] == [first, second, third]
    assert len({first, second, third}) == 3
    assert plant.view(second).accepted is None
    plant.clock.forward(1000)
    assert {run.run_id for run in plant.look().runs} == {second, third}, "a ticker looks, and leaves them"
    plant.finish(first)
    plant.run(ops.decide(plant.keys, first, "succeeded", {}))
    assert f"{second}:run" in {name for name, at in plant.due().items() if at <= 0}


def test_while_one_goes_on_it_is_canceled(plant, tick):
    first = tick("t1", "cancel_previous")
    second = tick("t2", "cancel_previous")
    assert plant.view(first).wish == "cancel"
    assert plant.view(second).accepted is not None


@pytest.mark.parametrize("if_running", ["skip", "queue", "cancel_previous"])
@pytest.mark.parametrize("dies_before", ["follow", "accept", "SET"])
def test_a_step_that_dies_is_gone_on_with(plant, tick, if_running, dies_before, monkeypatch):
    first = tick("t1", if_running)
    run = plant.producer.store.run

    def dying(op):
        if dies_before in {op.script, op.args[0]}:
            raise KeyboardInterrupt
        return run(op)

    with monkeypatch.context() as patch:
        patch.setattr(plant.producer.store, "run", dying)
        with suppress(KeyboardInterrupt):
            tick("t2", if_running)
    second = tick("t2", if_running)
    assert tick("t2", if_running) == second
    if if_running == "skip":
        assert second is None
    else:
        record = plant.view(second)
        assert (record.accepted is None) is (if_running == "queue")
        assert (record.after == first) is (if_running == "queue")
    runs = {key.decode().split(":")[-1] for key in plant.redis.scan_iter("p:run:*")}
    assert runs == {first, second} - {None}


def test_credentials_are_those_of_whoever_makes_the_run(plant, tick):
    with pytest.raises(ValueError, match="credentials: 'shop' is not in SCRAPE_DO_CREDENTIALS, which has none"):
        tick("t1", credentials="shop")
    assert plant.redis.keys("p:run:*") == []
    plant.producer.settings = type(plant.settings)(
        **plant.settings.model_dump(exclude={"credentials", "api_key"}),
        credentials={"shop": {"headers": {"Authorization": "secret"}}},
    )
    run_id = tick("t1", credentials="shop")
    assert plant.run(ops.spec(plant.keys, run_id, 1)).request.headers == {"Authorization": "secret"}
    assert "secret" not in repr(plant.producer.settings)
