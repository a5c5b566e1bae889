"""A token that is refused: one account is held back, tried now and then, and given up after a while."""

from __future__ import annotations

import logging

import pytest

from scrape_do_celery.errors import AsyncAPIAuthError
from scrape_do_celery.runtime import serve
from scrape_do_celery.store import PartState, ops
from scrape_do_celery.tasks.poll import poll


@pytest.fixture
def running(plant):
    plant.begin()
    plant.buy()
    return plant


def look(plant):
    """What a bell for the run does."""
    plant.clock.forward(max(0.0, plant.looks()["r:0"]))
    serve(plant.app, ["r:0"], {PartState.RUNNING}, poll)


def test_every_run_of_the_account_is_held_back_and_it_is_said_once(running, make, caplog):
    running.begin("other")
    running.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    with caplog.at_level(logging.ERROR):
        look(running)
        for _ in range(20):
            look(running)
    assert running.claim("other") is None
    assert caplog.text.count("refuses the token") == 1
    assert len(running.api.called("get_job")) == 1
    # 1, 2, 4 ... seconds after the refusal, and no more than one in a minute.
    assert 5 <= len(running.api.called("get_user_info")) <= 12
    assert running.part().state is PartState.RUNNING


def test_a_token_that_is_taken_again_lets_everything_go_on(running, make):
    running.api.script(get_job=[make.refusal(403), make.job("pending")], get_user_info=None)
    look(running)
    assert running.claim() is None
    running.clock.forward(ops.PROBE)
    look(running)
    assert len(running.api.called("get_user_info")) == 1
    assert len(running.api.called("get_job")) == 2
    assert not running.redis.exists(running.keys.breaker(running.account))


def test_an_account_that_stays_refused_fails_its_runs(running, make, settings):
    running.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    look(running)
    running.clock.forward(settings.auth_grace + 1)
    look(running)
    assert isinstance(running.part().error, AsyncAPIAuthError)
    assert running.part().outcome == "failed"


def test_a_failure_of_the_probe_says_nothing_about_the_token(running, make):
    running.api.script(get_job=[make.refusal(401), make.job("pending")], get_user_info=make.refusal(500))
    look(running)
    running.clock.forward(ops.PROBE)
    look(running)
    assert not running.redis.exists(running.keys.breaker(running.account))
    assert len(running.api.called("get_job")) == 2


def test_a_run_of_another_account_is_left_alone_and_it_is_said_once(running, make, caplog):
    """Another token does not know the job: three looks with it would lose what was paid."""
    running.redis.hset(running.keys.part("r", 0), "account", "somebody else's")
    running.api.script(get_job=make.refusal(404))
    look(running)
    look(running)
    assert caplog.text.count("runs of the account somebody else's wait for a worker with its token") == 1
    assert running.api.called("get_job") == []
    assert running.part().state is PartState.RUNNING


def test_a_named_account_outlives_its_token(settings):
    renamed = [settings.model_copy(update={"account": "shop", "api_key": key}) for key in (settings.api_key, None)]
    assert renamed[0].account_id == renamed[1].account_id != settings.account_id
    assert settings.api_key.get_secret_value() not in settings.account_id
