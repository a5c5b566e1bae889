"""Test the rules between states, as tables."""

from __future__ import annotations

import itertools

import pytest

from scrape_do_celery import routing
from scrape_do_celery.models import JobDetails
from scrape_do_celery.rules.states import next_step, outcome_of_stop, part_outcome, run_state, worst
from scrape_do_celery.store import CANCEL, DEADLINE, OUTCOMES, SKIPPED, PartState, RunState


@pytest.mark.parametrize(
    ("state", "stop_reason", "cancel_sent", "step"),
    [
        ("queued", False, False, routing.SUBMIT_JOBS),
        ("queued", True, False, routing.SUBMIT_JOBS),
        ("submitting", False, False, routing.RECONCILE_SUBMIT),
        ("submitting", True, False, routing.RECONCILE_SUBMIT),
        ("reconciling", False, False, routing.RECONCILE_SUBMIT),
        ("reconciling", True, True, routing.RECONCILE_SUBMIT),
        ("running", False, False, routing.POLL_JOBS),
        ("running", True, False, routing.CANCEL_RUN),
        ("running", True, True, routing.POLL_JOBS),
        ("running", False, True, routing.POLL_JOBS),
        ("fetching", False, False, routing.FETCH_TASKS),
        ("fetching", True, False, routing.FETCH_TASKS),
        ("done", False, False, None),
        ("done", True, True, None),
    ],
)
def test_next_step(state, stop_reason, cancel_sent, step):
    assert next_step(state, stop_requested=stop_reason, cancel_sent=cancel_sent) == step


def test_every_state_is_known_to_next_step():
    assert all(next_step(state) for state in PartState if state is not PartState.DONE)
    with pytest.raises(ValueError, match="asleep"):
        next_step("asleep")


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
def test_worst(outcomes, expected):
    position, outcome = worst(outcomes)
    assert (position, outcome) == (expected[0], RunState(expected[1]))


@pytest.mark.parametrize(("better", "worse"), list(itertools.pairwise(OUTCOMES)))
def test_outcomes_have_one_order(better, worse):
    assert worst([better, worse]) == (1, worse)
    assert worst([worse, better]) == (0, worse)


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
