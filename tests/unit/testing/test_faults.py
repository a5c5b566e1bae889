from __future__ import annotations

from typing import get_args

import pytest

from scrape_do_celery.testing.faults import FAULTS, rule_of
from scrape_do_sandbox.faults import Action, FaultRule
from scrape_do_sandbox.pages import DEFAULT_PAGE, apply_page_rules


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_a_rule_of_the_sandbox(name):
    given = {"target": "a.example", "times": 3, "after": 1}
    rule = FaultRule.model_validate(rule_of(name, given))
    assert (rule.target, rule.times, rule.after) == ("a.example", 3, 1)
    assert rule.action in get_args(Action)
    assert FaultRule.model_validate(rule_of(name, {})).times in {None, 1}


@pytest.mark.parametrize("name", FAULTS)
def test_every_option_is_taken(name):
    values = {"seconds": 2.0, "status": 418, "retry_after": 5, "body": "x", "size": 20_000, "fields": ["Status"]}
    by_name = {"answer_mutated": "lower", "urls_rewritten": "go", "answer_encoded": "br_label"}
    values["value"] = {**by_name, "webhook_encoded": "br_label"}.get(name, "done")
    rule = FaultRule.model_validate(rule_of(name, {option: values[option] for option in FAULTS[name].options}))
    assert {option: getattr(rule, option) for option in FAULTS[name].options} == {
        option: values[option] for option in FAULTS[name].options
    }


def test_a_wrong_name_lists_the_right_ones():
    with pytest.raises(ValueError, match=r"'rate_limit'; did you mean rate_limited\?; there are .*token_refused"):
        rule_of("rate_limit", {})
    with pytest.raises(ValueError, match="no fault is called 'xyz'; there are answer_cut"):
        rule_of("xyz", {})


def test_a_wrong_option_lists_the_right_ones():
    with pytest.raises(ValueError, match="takes no seconds; it takes retry_after, target, times, after"):
        rule_of("rate_limited", {"seconds": 3})


def test_actions_of_the_sandbox_are_taken_as_they_are():
    assert rule_of("drip", {"seconds": 0.1, "kind": "me"}) == {"action": "drip", "seconds": 0.1, "kind": "me"}


def test_rules_say_what_becomes_of_a_target():
    rules = [
        FaultRule(action="task_answers", target="a.example", status=404, body="gone"),
        FaultRule(action="task_answers", target="a.example/2", status=200, body="{}", headers={"Content-Type": "json"}),
        FaultRule(action="task_takes", seconds=9),
        FaultRule(action="task_fails", target="b.example"),
        FaultRule(action="slow"),
    ]
    one, two, other = (
        apply_page_rules(DEFAULT_PAGE, f"https://{name}", rules) for name in ("a.example/1", "a.example/2", "b.example")
    )
    assert (one.status, one.body, one.seconds, one.error) == (404, "gone", 9, False)
    assert (two.status, two.body, two.content_type) == (200, "{}", "json")
    assert (other.body, other.error) == (None, True)
