"""A small run of the fault lab: the same as `make faults`, fifty trials of it."""

from __future__ import annotations

import os

import pytest

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
