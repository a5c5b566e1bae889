"""The lab can see: without one protection it turns red, with all of them the same trials are green."""

from __future__ import annotations

import pytest

from tests.faults.deck import Deck
from tests.faults.mutants import MUTANTS
from tests.faults.sessions import Session
from tests.faults.trials import Plan, add_equal_run

SHAPE = ("threads:4", "prefork:2")
COUNT = 4


def killed(deck, point):
    """A run whose step dies there."""
    trial, _ = deck.blank("kill")
    trial.plans.append(Plan(point, [{"kind": "kill", "main": True}]))
    return trial


def frozen(deck, point, seconds):
    """A run whose step is frozen there for longer than its lease, and then goes on."""
    trial, _ = deck.blank("stop")
    trial.plans.append(Plan(point, [{"kind": "stop", "seconds": seconds, "main": True}]))
    return trial


def put_twice(deck):
    """A page that a second step stores while the first is frozen, and the job's last page takes its time."""
    trial = frozen(deck, "poll_jobs: before store_content", 2.6)
    run = trial.runs[0]
    run.targets[:] = [f"https://{trial.host}/{place}" for place in range(3)]
    run.succeeded = 3
    trial.rules.append({"action": "slow", "kind": "get_task", "target": f"{trial.host}/2", "seconds": 5.0})
    return trial


def equal_runs_in_doubt(deck):
    """Two runs with equal targets and other options, and the answers to both purchases are lost."""
    trial, dice = deck.blank("equal runs")
    add_equal_run(trial, dice)
    trial.rules.append({"action": "reset_after", "kind": "create_job", "target": trial.host, "times": 2})
    trial.counts_by = "rule"
    return trial


#: For each protection, trials that need it.
AIMED = {
    "fence": lambda deck: frozen(deck, "poll_jobs: before update_part fetching", 6.0),
    "intent": lambda deck: killed(deck, "submit_jobs: after POST jobs"),
    "set_if_absent": put_twice,
    "fingerprint_lock": equal_runs_in_doubt,
}


#: Played one at a time: where all workers are frozen at once, nobody goes on in the meantime.
ALONE = ("fence",)


def play(trials, without=""):
    """The report of a lab that played these."""
    session = Session("mutants", shape=SHAPE, without=without)
    with session.lab() as lab:
        session.round(lab, trials, window=1 if without in ALONE else len(trials))
    return session.report


def test_every_protection_has_its_trials():
    assert AIMED.keys() == MUTANTS.keys()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_with_all_protections_they_are_green():
    deck = Deck("mutants")
    report = play([make(deck) for make in AIMED.values() for _ in range(COUNT)])
    assert report.green, report.text()
    assert report.counted >= COUNT * len(AIMED) / 2, report.text()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", sorted(MUTANTS))
def test_without_one_the_lab_turns_red(what):
    deck = Deck("mutants")
    report = play([AIMED[what](deck) for _ in range(COUNT)], without=what)
    assert not report.green, f"{what} was taken away, and nobody noticed\n{report.text()}"
