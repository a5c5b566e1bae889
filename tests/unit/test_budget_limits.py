"""Test limits, tags and amounts of credits as people write them."""

from __future__ import annotations

import pytest

from scrape_do_celery import Settings
from scrape_do_celery.config.budget_limits import (
    MAX_CREDITS,
    BudgetLimit,
    BudgetPeriod,
    BudgetScope,
    check_credits,
    check_tags,
    parse_limits,
    read_scope,
    to_mc,
)
from scrape_do_celery.errors import ConfigurationError


@pytest.mark.parametrize(("credits_", "mc"), [(1, 1000), (0.1 + 0.2, 300), (0.0001, 1), (2.5, 2500), (1e9, 10**12)])
def test_amounts_are_whole_thousandths_rounded_up(credits_, mc):
    assert to_mc(credits_) == mc


def test_limits_are_read_in_their_order():
    assert parse_limits(" account day 5000,tag:shop:7  month 0.5 , ") == [
        BudgetLimit(BudgetScope(), BudgetPeriod.DAY, 5_000_000),
        BudgetLimit(BudgetScope(tag="shop:7"), BudgetPeriod.MONTH, 500),
    ]
    assert parse_limits("") == []


@pytest.mark.parametrize(
    "text",
    [
        *("account day", "account day 5 6", "account week 5", "account day -5", "account day 0", "account day nan"),
        *("account day five", "shop:7 day 5", "tag: day 5", f"account day {MAX_CREDITS * 10}", "account day inf"),
        "account day 5, account day 6",
    ],
)
def test_bad_limits_name_the_setting(clean_environment, text):
    with pytest.raises(ConfigurationError, match="SCRAPE_DO_BUDGETS"):
        Settings(budgets=text)


def test_limit_is_a_number_of_credits_or_none():
    assert check_credits("x", None) is None
    assert check_credits("x", 5) == 5.0
    with pytest.raises(ValueError, match="x must be a number of credits, or None; not str"):
        check_credits("x", "5")


def test_tags_keep_their_order_and_each_counts_once():
    assert check_tags(["b", "a", "b"]) == ("b", "a")
    assert check_tags(None) == ()


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ("shop:7", "tags must be a list of texts"),
        ([f"t{n}" for n in range(9)], "tags must have at most 8 tags, not 9"),
        ([7], "a tag must be a text"),
        (["a b"], "a tag must have 1 to 64 bytes"),
        (["ä" * 33], "a tag must have 1 to 64 bytes"),
        (["\ud800"], "a tag must have 1 to 64 bytes"),
        ([""], "a tag must have 1 to 64 bytes"),
        (["tag:shop:7"], "must not begin with `tag:` or `account:`: write 'shop:7', not 'tag:shop:7'"),
        (["tag:"], "write 'shop:7', not 'tag:'"),
        (["account:7"], "must not begin with `tag:` or `account:`: `account:` names an account"),
    ],
)
def test_bad_tags_are_refused(tags, named):
    with pytest.raises(ValueError, match=named):
        check_tags(tags)


@pytest.mark.parametrize(
    "text", ["shop:7", "", "tag:", "Account", "account:", "account:a b", "tag:tag:a", "tag:account:7"]
)
def test_scope_is_an_account_or_a_tag(text):
    assert (read_scope("account"), read_scope("tag:shop:7")) == (BudgetScope(), BudgetScope(tag="shop:7"))
    assert read_scope("account:7f") == BudgetScope(account="7f")
    with pytest.raises(ValueError, match=r"should be account|a tag must|the id of an account must"):
        read_scope(text)
