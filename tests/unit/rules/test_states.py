"""Test the rules between states, as tables."""

from __future__ import annotations

import pytest

from scrape_do_celery import routing
from scrape_do_celery.rules.states import next_step
from scrape_do_celery.store import PartState


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
