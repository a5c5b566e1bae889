"""Test `scrape-do webhook-trust` with an in-memory store."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from scrape_do_celery.cli import main, webhook_trust
from scrape_do_celery.runs import AppContext
from scrape_do_celery.store.commands.webhook_trust import DistrustWebhooks, ReadWebhookTrust
from tests.support.json_shapes import check_json

WHY = "task t1 of job j1 has another content"


@pytest.fixture
def scrape_do(step_harness, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)

    def call(*arguments, code=0, **options):
        answer = CliRunner().invoke(main, [str(a) for a in arguments], **options)
        assert answer.exit_code == code, answer.output
        check_json(arguments, answer)
        return answer

    return call


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(webhook_trust, "has_terminal", lambda: True)


@pytest.fixture
def distrusted(step_harness):
    """Return the account whose delivered pages are not believed. Another account is trusted."""
    mine = step_harness.account
    step_harness.redis.sadd(step_harness.keys.accounts, mine, "other")
    step_harness.redis.hset(step_harness.keys.webhook_trust("other"), "taken", 1234)
    assert step_harness.run(DistrustWebhooks(mine, WHY)) is True
    return mine


def is_trusted(harness, account):
    return harness.run(ReadWebhookTrust(account)).off_since is None


def test_accounts_are_listed_with_their_trust(scrape_do, distrusted):
    header, _, *rows = scrape_do("webhook-trust", "list").output.splitlines()
    assert header.split() == ["account", "trust", "since", "pages", "reason"]
    rows = {row.split()[0]: row.split(maxsplit=4)[1:] for row in rows}
    assert rows["other"] == ["on", "-", "1,234", "-"]
    assert (rows[distrusted][0], rows[distrusted][2:]) == ("off", ["0", WHY])
    found = {
        one.pop("account"): one for one in json.loads(scrape_do("webhook-trust", "list", "--json").output)["accounts"]
    }
    assert found["other"] == {"trusted": True, "off_since": None, "pages": 1234, "reason": None}
    assert (found[distrusted]["trusted"], found[distrusted]["reason"]) == (False, WHY)
    assert found[distrusted]["off_since"] == rows[distrusted][1]


def test_new_store_has_no_accounts(scrape_do):
    assert scrape_do("webhook-trust", "list").output == "no accounts: the store has bought no job\n"


def test_trust_is_restored_after_a_yes(scrape_do, step_harness, distrusted, terminal):
    answer = scrape_do("webhook-trust", "restore", code=1, input="n\n")
    assert WHY in answer.stderr
    assert not is_trusted(step_harness, distrusted)
    answer = scrape_do("webhook-trust", "restore", input="y\n")
    assert answer.stdout == (
        f"delivered pages of account {distrusted} are believed again; workers compare those of live runs\n"
    )
    assert step_harness.run(ReadWebhookTrust(distrusted)).taken == 0
    assert is_trusted(step_harness, distrusted)


def test_trust_is_not_restored_without_a_yes(scrape_do, step_harness, distrusted):
    assert "restore needs --yes" in scrape_do("webhook-trust", "restore", code=2).stderr
    assert not is_trusted(step_harness, distrusted)
    answer = scrape_do("webhook-trust", "restore", distrusted, "--yes", "--json")
    assert json.loads(answer.stdout) == {"account": distrusted, "changed": True}
    assert is_trusted(step_harness, distrusted)


def test_restore_of_a_trusted_account_asks_nothing_and_has_its_pages_compared(scrape_do, step_harness, distrusted):
    answer = scrape_do("webhook-trust", "restore", "other")
    assert answer.output.endswith("are believed, as before; workers compare those of live runs\n")
    trust = step_harness.run(ReadWebhookTrust("other"))
    assert (trust.off_since, trust.taken, trust.restores) == (None, 0, 1)


def test_restore_without_a_known_account_names_the_list(scrape_do, step_harness, distrusted):
    step_harness.settings = step_harness.settings.model_copy(update={"api_key": None})
    step_harness.app_context.settings = step_harness.settings
    assert "webhook-trust list" in scrape_do("webhook-trust", "restore", code=1).stderr
