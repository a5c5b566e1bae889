"""A small run of the fault lab: the same as `make faults`, fifty trials of it."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.faults.deck import KILLS_A_POINT, Deck
from tests.faults.points import POINTS
from tests.faults.sessions import Session

SEED = os.environ.get("FAULTS_SEED", "1")


@pytest.mark.timeout(400)
def test_fifty_trials(capsys):
    with capsys.disabled():
        session = Session(SEED, window=25, say=print)
        session.play_all(50)
    report = session.report
    assert report.green, report.text()
    assert report.counted >= 50
    assert report.most_purchases == 1
    assert sum(report.kills.values()) >= 20


def test_a_run_is_gone_on_with_where_kills_are_owed():
    deck = Deck(SEED)
    owed = "poll_jobs: before update"
    deck.go_on(5_000, Counter(dict.fromkeys(POINTS, KILLS_A_POINT) | {owed: KILLS_A_POINT - 3}))
    trials = list(deck.deal(3, "kill"))
    assert [trial.number for trial in trials] == [5_001, 5_002, 5_003]
    assert [trial.plans[0].point for trial in trials] == [owed] * 3
