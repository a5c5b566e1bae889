"""Provide the commands over the in-memory store."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from scrape_do_celery.cli import main, runs
from scrape_do_celery.cli.watching import watch_runs
from scrape_do_celery.runs import AppContext
from scrape_do_celery.store.commands.runs import ReadSpec
from tests.support.json_shapes import check_json
from tests.support.module_sleep import replace_sleep


@pytest.fixture
def scrape_do(step_harness, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)

    def call(*arguments, **options):
        answer = CliRunner().invoke(main, [str(one) for one in arguments], prog_name="scrape-do", **options)
        check_json(arguments, answer)
        return answer

    return call


@pytest.fixture
def at_sleep(monkeypatch):
    """Do something while a command sleeps between two looks, in place of the sleep."""
    actions = []

    def sleep(_):
        actions.pop(0)()

    replace_sleep(monkeypatch, runs, sleep)
    monkeypatch.setitem(watch_runs.__kwdefaults__, "sleep", sleep)
    return actions


@pytest.fixture
def end(step_harness, end_run):
    """Return a function that ends all runs, with a page for each of their targets."""

    def end_runs(outcome="succeeded"):
        for run_id in step_harness.run_ids():
            targets = step_harness.run(ReadSpec(run_id, 1)).request.targets
            end_run(run_id, *([True] * len(targets)), outcome=outcome)

    return end_runs
