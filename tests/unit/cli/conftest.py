"""Provide the commands over the in-memory store."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from scrape_do_celery.cli import main
from scrape_do_celery.runs import AppContext


@pytest.fixture
def scrape_do(step_harness, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)

    def call(*arguments, **options):
        return CliRunner().invoke(main, [str(one) for one in arguments], prog_name="scrape-do", **options)

    return call
