"""Test that `scrape-do retry` buys only after its user has seen what it costs."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from scrape_do_celery.cli import main
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome


@pytest.fixture
def retry(step_harness, monkeypatch):
    """Return a function that calls the command on a terminal with an answer, or in a pipe."""
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)

    def call(*arguments, answer=None):
        with monkeypatch.context() as patch:
            patch.setattr("scrape_do_celery.cli.retry.has_terminal", lambda: answer is not None)
            return CliRunner().invoke(main, ["retry", *arguments], input=answer)

    return call


@pytest.fixture
def ended(step_harness, make):
    """Return the id of an ended run whose second target has no page."""
    step_harness.create_run(targets=2)
    step_harness.make_running(state=PartState.FETCHING)
    claim = step_harness.claim_part()
    step_harness.run(UpdatePart(claim, {}, job=make.job("success")))
    step_harness.store_content(position=0)
    step_harness.store_content(position=1, status="error", content=None)
    step_harness.run(FinishPart(claim, "succeeded"))
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    return "r"


def test_cost_is_shown_before_the_purchase(retry, ended, step_harness, make):
    refused = retry(ended, answer="n\n")
    assert refused.exit_code == 1
    assert "tasks to buy again: 1; 1 credits expected" in refused.stderr
    assert step_harness.run_ids() == {"r"}
    bought = retry(ended, answer="y\n")
    assert bought.exit_code == 0
    child = bought.stdout.strip()
    assert step_harness.run(ReadSpec(child, 1)).request.targets == make.urls(1, 1)
    again = retry(ended, answer="n\n")
    assert (again.stdout.strip(), again.exit_code) == (child, 0)
    assert "is the live child; nothing more is bought" in again.stderr


def test_pipe_needs_the_option(retry, ended, step_harness):
    refused = retry(ended)
    assert refused.exit_code == 2
    assert "needs --yes" in refused.stderr
    assert step_harness.run_ids() == {"r"}
    bought = retry(ended, "--yes", "--max-credits", "7")
    assert step_harness.run(ReadSpec(bought.stdout.strip(), 1)).max_credits == 7


def test_child_over_a_limit_is_refused_before_the_question(retry, ended, step_harness):
    refused = retry(ended, "--max-credits", "0.5", answer="y\n")
    assert refused.exit_code == 1
    assert "Buy them again?" not in refused.stderr
    assert step_harness.run_ids() == {"r"}


def test_live_run_is_not_retried(retry, step_harness):
    step_harness.create_run()
    assert retry("r", "--yes").exit_code == 3
    assert step_harness.run_ids() == {"r"}
