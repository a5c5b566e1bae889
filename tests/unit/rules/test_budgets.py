"""Test the texts of refusals and of waits for a budget."""

from __future__ import annotations

import pytest

from scrape_do_celery.rules.budgets import parse_refusal
from scrape_do_celery.rules.states import PartState
from scrape_do_celery.rules.waits import PartFacts, StoreFacts, decide_wait

STORE = StoreFacts(now=0.0, has_worker=True, is_young=False, paused_until=None, used=0.0, policy="noeviction")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("stop 0 0 0 1000 0 tag:a", "purchases of the tag a are stopped"),
        ("day 1500 1000 0 1000 0 account:me", "the limit of the account me for a day is 1.5"),
        ("run 1500 1000 0 1000 1 run:r", "max_credits of the run is 1.5"),
    ],
)
def test_refusal_says_which_limit_refuses(text, shown):
    assert shown in str(parse_refusal(text))


@pytest.mark.parametrize(
    ("budget", "shown"),
    [
        ("1000 stop tag:a", "scrape-do budgets resume tag:a"),
        ("1000 month account:me", "reserves 1 credits"),
        ("1000 run run:r", "max_credits of the run"),
    ],
)
def test_wait_says_what_the_part_waits_for(budget, shown):
    assert shown in str(decide_wait([PartFacts(PartState.QUEUED, budget=budget)], STORE))
