"""Test `scrape-do budgets` with an in-memory store."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from scrape_do_celery.cli import main
from scrape_do_celery.config import SettingsWarning
from scrape_do_celery.rules.budgets import account_scope
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.runs import AppContext
from scrape_do_celery.store.commands.budgets import ReadBudgets, SetBudget
from scrape_do_celery.store.commands.purchases import WriteIntent
from tests.support.json_shapes import check_json


@pytest.fixture
def scrape_do(step_harness, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)

    def call(*arguments, code=0):
        answer = CliRunner().invoke(main, [str(a) for a in arguments])
        assert answer.exit_code == code, answer.output
        check_json(arguments, answer)
        return answer.output

    return call


def test_limits_are_set_listed_and_removed(step_harness, scrape_do):
    own = account_scope(step_harness.account)
    assert scrape_do("budgets", "list") == "no budgets: nothing limits the credits of the account or of a tag\n"
    assert scrape_do("budgets", "set", "account", "day", "5000") == f"the limit of {own} for a day is 5,000 credits\n"
    assert "as before" in scrape_do("budgets", "set", "account", "day", "5000")
    scrape_do("budgets", "set", "tag:shop:7", "month", "0.5")
    step_harness.create_run()
    claim = step_harness.claim_part()
    step_harness.run(
        WriteIntent(claim, "n", 30.0, account=step_harness.account, groups=[PriceGroup("x", 1, 0, 2500, None)])
    )
    lines = scrape_do("budgets", "list").splitlines()
    assert lines[0].split() == ["budget", "limit", "spent", "reserved", "assumed", "left", "overrun", "stopped"]
    assert [line.split() for line in lines[2:]] == [
        ["account", "day", "5,000", "0", "2.5", "0", "4,997.5", "0", "no"],
        ["tag:shop:7", "month", "0.5", "0", "0", "0", "0.5", "0", "no"],
    ]
    assert scrape_do("budgets", "remove", "tag:shop:7", "month") == "tag:shop:7 has no limit for a month any more\n"
    assert "and had none" in scrape_do("budgets", "remove", "tag:shop:7", "month")
    assert "tag:" not in scrape_do("budgets", "list")


def test_purchases_are_stopped_and_resumed(step_harness, scrape_do):
    own = account_scope(step_harness.account)
    scrape_do("budgets", "set", "account", "day", "5")
    assert scrape_do("budgets", "stop", "account") == f"purchases of {own} are stopped\n"
    assert "as before" in scrape_do("budgets", "stop", "account")
    scrape_do("budgets", "stop", "tag:a")
    found = json.loads(scrape_do("budgets", "list", "--json"))["budgets"]
    assert [(one["tag"], one["period"], one["limit"], one["left"], one["stopped"]) for one in found] == [
        (None, "day", 5.0, 5.0, True),
        ("a", None, None, None, True),
    ]
    assert [line.split()[-1] for line in scrape_do("budgets", "list").splitlines()[2:]] == ["yes", "yes"]
    assert scrape_do("budgets", "resume", "account") == f"purchases of {own} go on\n"
    assert "as before" in scrape_do("budgets", "resume", "account")


def test_budget_of_another_account_is_listed_in_the_form_that_commands_take(step_harness, scrape_do):
    step_harness.run(SetBudget(account_scope("other"), "day", 1000))
    scope, period, *_ = scrape_do("budgets", "list").splitlines()[2].split()
    assert scope == "account:other"
    assert "has no limit for a day any more" in scrape_do("budgets", "remove", scope, period)
    assert step_harness.run(ReadBudgets()) == []


@pytest.mark.parametrize(
    "command",
    [("set", "account", "day", "5"), ("stop", "account"), ("remove", "account", "day"), ("resume", "account")],
)
def test_account_without_purchases_is_told_with_those_of_the_store(step_harness, scrape_do, command):
    scrape_do("budgets", *command)  # a new store knows no account: a warning would be an error
    step_harness.redis.sadd(step_harness.keys.accounts, "second", "first")
    with pytest.warns(SettingsWarning, match=f"has the account {step_harness.account}; .* are first, second"):
        scrape_do("budgets", *command)
    step_harness.redis.sadd(step_harness.keys.accounts, step_harness.account)
    scrape_do("budgets", *command)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("set", "shop:7", "day", "5"), 2, "should be account, account:<id> or tag:<tag>"),
        (("set", "tag:a b", "day", "5"), 2, "a tag must have 1 to 64 bytes"),
        (("set", "account", "week", "5"), 2, "'week' is not one of"),
        (("set", "account", "day", "five"), 2, "'five' is not a valid float"),
        (("set", "tag:x", "day", "0"), 2, "To remove the limit: scrape-do budgets remove tag:x day. To buy nothing:"),
        (("set", "tag:x", "day", "-5"), 2, "CREDITS must be more than 0"),
        (("set", "account", "month", "-0.5"), 2, "scrape-do budgets stop account:"),
        (("set", "account", "day", "--wrong"), 2, "'--wrong' is not a valid float"),
        (("set", "account", "day", "nan"), 2, "limit must be more than 0"),
        (("remove", "Account", "day"), 2, "should be account, account:<id> or tag:<tag>"),
        (("stop", "tag:"), 2, "a tag must have 1 to 64 bytes"),
        (("resume", ""), 2, "should be account, account:<id> or tag:<tag>"),
    ],
)
def test_wrong_call_is_refused_and_nothing_is_written(step_harness, scrape_do, arguments, code, named):
    assert named in scrape_do("budgets", *arguments, code=code)
    assert step_harness.run(ReadBudgets()) == []
