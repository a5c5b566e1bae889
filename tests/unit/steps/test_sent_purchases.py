"""Test that a `POST` goes on after its step was cancelled, if its bytes may have left."""

from __future__ import annotations

import asyncio

import pytest

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
