"""Test that the lab fails without one protection, and passes the same trials with all of them."""

from __future__ import annotations

import pytest

from scrape_do_celery.store.scripts import load_scripts
from tests.faults.generator import TrialGenerator
from tests.faults.mutants import ATTEMPTS, MUTANTS, mutated_scripts
from tests.faults.sessions import Session
from tests.faults.trials import PlannedFault, add_equal_run

POOLS = ("threads:4", "prefork:2")
TRIALS_PER_MUTANT = 4


def killed(generator, point):
    """Plan a run whose step dies at the point."""
    trial, _ = generator.plain_trial("kill")
    trial.planned_faults.append(PlannedFault(point, [{"kind": "kill", "main": True}]))
    return trial


def frozen(generator, point, seconds):
    """Plan a run whose step is frozen at the point for longer than its lease, and then goes on."""
    trial, _ = generator.plain_trial("stop")
    trial.planned_faults.append(PlannedFault(point, [{"kind": "stop", "seconds": seconds, "main": True}]))
    return trial


def put_twice(generator):
    """Plan a page that a second step stores while the first step is frozen. The job's last page is slow."""
    trial = frozen(generator, "poll_jobs: before store_content", 4.0)
    run = trial.runs[0]
    run.targets[:] = [f"https://{trial.host}/{index}" for index in range(3)]
    run.succeeded = 3
    trial.rules.append({"action": "slow", "kind": "get_task", "target": f"{trial.host}/2", "seconds": 7.0})
    return trial


def equal_runs_in_doubt(generator):
    """Plan two runs with equal targets and other options, and lose the answers to both purchases."""
    trial, rng = generator.plain_trial("equal runs")
    add_equal_run(trial, rng)
    trial.rules.append({"action": "reset_after", "kind": "create_job", "target": trial.host, "times": 2})
    trial.counts_by = "rule"
    return trial


def sharing_a_budget(generator):
    """Plan runs that wait for one budget, which each of them frees again."""
    trial = generator.next_trial("budget")
    trial.planned_faults.clear()
    trial.counts_by = "nothing"
    return trial


#: Protection -> trials that need it.
TRIALS_BY_MUTANT = {
    "fence": lambda generator: frozen(generator, "poll_jobs: before update_part fetching", 6.0),
    "intent": lambda generator: killed(generator, "submit_jobs: after POST jobs"),
    "set_if_absent": put_twice,
    "target_lock": equal_runs_in_doubt,
    "budget": sharing_a_budget,
    "settlement": sharing_a_budget,
    "wake": sharing_a_budget,
}


#: Played one at a time: if all workers are frozen at once, none goes on in the meantime.
ONE_AT_A_TIME = ("fence",)


def run_session(trials, mutant=""):
    """Return the report of a lab that played these trials."""
    session = Session("mutants", pools=POOLS, mutant=mutant)
    with session.harness() as harness:
        session.run_round(harness, trials, window=1 if mutant in ONE_AT_A_TIME else len(trials))
    return session.report


def test_every_protection_has_its_trials():
    assert TRIALS_BY_MUTANT.keys() == MUTANTS.keys()


@pytest.mark.parametrize("what", sorted(MUTANTS))
def test_every_protection_is_found_in_the_scripts(what):
    assert mutated_scripts(what) != load_scripts()


@pytest.mark.long
def test_with_all_protections_they_are_green():
    generator = TrialGenerator("mutants")
    report = run_session([make(generator) for make in TRIALS_BY_MUTANT.values() for _ in range(TRIALS_PER_MUTANT)])
    assert report.passed, report.text()
    assert report.counted >= TRIALS_PER_MUTANT * len(TRIALS_BY_MUTANT) / 2, report.text()


@pytest.mark.long
@pytest.mark.parametrize("what", sorted(MUTANTS))
def test_without_one_the_lab_turns_red(what):
    generator = TrialGenerator("mutants")
    for _ in range(ATTEMPTS):
        report = run_session([TRIALS_BY_MUTANT[what](generator) for _ in range(TRIALS_PER_MUTANT)], mutant=what)
        if not report.passed:
            return
    pytest.fail(f"{what} was taken away, and nobody noticed\n{report.text()}")
