"""Test direct calls of the client: they are repeated, and fail, as commands do."""

from __future__ import annotations

import asyncio

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, NoPermissionError

from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.store import AsyncStore, Keys, Store


def make_call(*errors, answer="pong"):
    """Return a call that fails with each error in turn, and then answers. Its list tells how often it was made."""
    left, made = list(errors), []

    def call(_):
        made.append(None)
        if left:
            raise left.pop(0)
        return answer

    return call, made


def call_sync(call):
    return Store(fakeredis.FakeRedis(), Keys("p"), "here", timeout=2).call_server(call)


def call_async(call):
    async def work():
        async def ask(client):
            return call(client)

        store = AsyncStore(fakeredis.FakeAsyncRedis(), Keys("p"), where="here", timeout=2)
        try:
            return await store.call_server(ask)
        finally:
            await store.aclose()

    return asyncio.run(work())


BOTH = pytest.mark.parametrize("run", [call_sync, call_async])


@BOTH
def test_lost_answer_is_asked_for_again(run):
    call, made = make_call(RedisConnectionError("cut"))
    assert run(call) == "pong"
    assert len(made) == 2


@BOTH
def test_refusal_that_passes_is_named(run):
    call, _ = make_call(*[MasterDownError("the link is down")] * 9)
    with pytest.raises(StoreUnavailableError, match="the store at here: MASTERDOWN the link is down") as caught:
        run(call)
    assert caught.value.reason == "MASTERDOWN"


@BOTH
def test_refusal_for_good_is_not_repeated(run):
    call, made = make_call(NoPermissionError("no +info"))
    with pytest.raises(NoPermissionError):
        run(call)
    assert len(made) == 1
