"""Test the rules of outcomes, as tables."""

from __future__ import annotations

import itertools

import pytest

from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.models import JobDetails
from scrape_do_celery.rules.outcomes import (
    OUTCOME_RULES,
    error_for_outcome,
    may_have_bought,
    outcome_of_stop,
    part_outcome,
    run_state,
    skips_unsent,
    worst_outcome,
)
from scrape_do_celery.store import CANCEL, DEADLINE, OUTCOMES, SKIPPED, PartState, RunState


def test_every_outcome_has_one_row():
    assert set(OUTCOME_RULES) == {state for state in RunState if state.is_outcome}


@pytest.mark.parametrize("outcome", [*OUTCOMES, SKIPPED])
def test_bad_outcomes_skip_unsent_parts(outcome):
    assert skips_unsent(outcome) is (outcome in {"failed", "poisoned", "lost", "in_doubt"})


@pytest.mark.parametrize("outcome", [None, *OUTCOMES, SKIPPED])
@pytest.mark.parametrize("purchases", [0, 2])
@pytest.mark.parametrize("job_id", [None, "j"])
def test_part_in_doubt_or_poisoned_without_a_job_may_have_bought(outcome, purchases, job_id):
    expected = outcome == "in_doubt" or (outcome == "poisoned" and purchases > 0 and job_id is None)
    assert may_have_bought(outcome, purchases=purchases, job_id=job_id) is expected


@pytest.mark.parametrize("job", [None, JobDetails(job_id="j", status="error")])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_error_of_an_outcome_names_the_run(outcome, job):
    error = error_for_outcome("r", outcome, job, 60.0)
    has_one = outcome in {"canceled", "timed_out"} or (outcome == "failed" and job is not None)
    assert (isinstance(error, ScrapeDoError) and error.run_id == "r") if has_one else error is None


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["succeeded"], (0, "succeeded")),
        (["succeeded", "succeeded"], (0, "succeeded")),
        (["succeeded", "failed", "failed"], (1, "failed")),
        ([SKIPPED, "failed"], (1, "failed")),
        (["failed", SKIPPED, SKIPPED], (0, "failed")),
        (["canceled", "timed_out", "succeeded"], (1, "timed_out")),
        (["failed", "in_doubt", "lost", "poisoned"], (1, "in_doubt")),
    ],
)
def test_worst_outcome(outcomes, expected):
    position, outcome = worst_outcome(outcomes)
    assert (position, outcome) == (expected[0], RunState(expected[1]))


@pytest.mark.parametrize(("better", "worse"), list(itertools.pairwise(OUTCOMES)))
def test_outcomes_have_one_order(better, worse):
    assert worst_outcome([better, worse]) == (1, worse)
    assert worst_outcome([worse, better]) == (0, worse)


@pytest.mark.parametrize(
    ("status", "stop_reason", "outcome"),
    [
        ("success", None, "succeeded"),
        ("success", CANCEL, "succeeded"),
        ("success", DEADLINE, "succeeded"),
        ("error", None, "failed"),
        ("error", CANCEL, "failed"),
        ("canceled", None, "canceled"),
        ("canceled", CANCEL, "canceled"),
        ("canceled", DEADLINE, "timed_out"),
        ("pending", CANCEL, "canceled"),
        ("frozen", DEADLINE, "timed_out"),
    ],
)
def test_part_outcome(status, stop_reason, outcome):
    assert part_outcome(JobDetails(job_id="j", status=status), stop_reason) is RunState(outcome)


@pytest.mark.parametrize(
    ("stop_reason", "outcome"), [(None, "canceled"), (CANCEL, "canceled"), (DEADLINE, "timed_out")]
)
def test_outcome_of_stop(stop_reason, outcome):
    assert outcome_of_stop(stop_reason) is RunState(outcome)


@pytest.mark.parametrize(
    ("outcome", "parts", "state"),
    [
        (None, ["queued"], "queued"),
        (None, ["queued", "fetching"], "fetching"),
        (None, ["queued", "fetching", "running"], "running"),
        (None, ["running", "submitting"], "submitting"),
        (None, ["submitting", "reconciling", "running"], "reconciling"),
        (None, ["done", "queued"], "queued"),
        (None, ["done", "done"], "fetching"),
        (None, [], "fetching"),
        ("failed", ["running"], "failed"),
        ("succeeded", ["done"], "succeeded"),
    ],
)
def test_run_state(outcome, parts, state):
    assert run_state(outcome, parts) is RunState(state)


def test_an_outcome_is_the_end_and_nothing_else_is():
    assert {state for state in RunState if state.is_outcome} == set(OUTCOMES)
    assert set(RunState) - set(OUTCOMES) == {RunState(p.value) for p in PartState if p is not PartState.DONE}
