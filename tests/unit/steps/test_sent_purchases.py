"""Test that a `POST` goes on after its step was cancelled, if its bytes may have left."""

from __future__ import annotations

import asyncio

import pytest

from scrape_do_celery.steps import sent_purchases
from scrape_do_celery.steps.sent_purchases import SentPurchases


@pytest.mark.parametrize("is_sent", [True, False])
def test_purchase_goes_on_only_after_its_bytes_left(is_sent):
    ended = []

    async def buy(was_sent):
        if is_sent:
            was_sent.set()
        await asyncio.sleep(0.05)
        ended.append("answer")

    async def go():
        purchases, was_sent = SentPurchases(), asyncio.Event()
        step = asyncio.ensure_future(purchases.finish(buy(was_sent), was_sent))
        await asyncio.sleep(0.01)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        await asyncio.sleep(0.1)

    asyncio.run(go())
    assert ended == (["answer"] if is_sent else [])


def test_error_of_a_purchase_reaches_its_step():
    async def buy():
        raise LookupError

    async def go():
        with pytest.raises(LookupError):
            await SentPurchases().finish(buy(), asyncio.Event())

    asyncio.run(go())


def test_error_after_the_step_was_cancelled_is_not_reported_again(caplog):
    async def buy(was_sent):
        was_sent.set()
        await asyncio.sleep(0.02)
        raise LookupError

    async def go():
        purchases, was_sent = SentPurchases(), asyncio.Event()
        step = asyncio.ensure_future(purchases.finish(buy(was_sent), was_sent))
        await asyncio.sleep(0.01)
        step.cancel()
        await asyncio.sleep(0.05)

    asyncio.run(go())
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("seconds", "hurried_after", "is_stored"), [(5.0, 99, True), (0.05, 99, False), (5.0, 1, False), (5.0, 0, False)]
)
def test_answers_are_awaited_in_their_own_time_and_without_hurry(
    monkeypatch, caplog, seconds, hurried_after, is_stored
):
    monkeypatch.setattr(sent_purchases, "_LOOK_EVERY", 0.02)
    stored, looks = [], []

    async def buy(was_sent):
        was_sent.set()
        await asyncio.sleep(0.3)
        stored.append("answer")

    def is_hurried():
        looks.append(1)
        return len(looks) > hurried_after

    async def go():
        purchases, was_sent = SentPurchases(), asyncio.Event()
        step = asyncio.ensure_future(purchases.finish(buy(was_sent), was_sent))
        await asyncio.sleep(0.01)
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        await purchases.wait_for_all(seconds, is_hurried)
        return list(stored)

    assert asyncio.run(go()) == (["answer"] if is_stored else [])
    assert ("a later step searches for their jobs" in caplog.text) != is_stored


def test_a_worker_without_purchases_ends_at_once():
    asyncio.run(SentPurchases().wait_for_all(5.0, lambda: pytest.fail("there is nothing to wait for")))
