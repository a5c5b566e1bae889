"""Test a share of the lab in every test run, and a larger one in the long tests. `make wire` plays all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire.docs_page import digest
from tests.wire.harness import generate_cases, run_case
from tests.wire.mutations import all_mutations
from tests.wire.report import violations
from tests.wire.scenarios import SCENARIOS, TARGETS, run_scenario
from tests.wire.server import page_of

_SEED, _PAIRS = 1, 500
#: Every `_SHARE`th case is played, spread over `_TESTS` tests.
_SHARE, _TESTS = 160, 4
#: The long tests play every `_LONG_SHARE`th case: all cases keep two cores busy for half an hour.
_LONG_SHARE, _LONG_TESTS = 24, 4
_PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "answers.md"


def _run_cases(environment, cases):
    broken = [result for result in (run_case(environment, case) for case in cases) if result.violations]
    assert not broken, violations(broken)


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_a_mutation_every_scenario_ends_well(environment, name):
    observed = run_scenario(environment, SCENARIOS[name])
    assert observed.ended
    assert observed.bought == 1
    assert not observed.escaped_errors
    assert not observed.token_leaks
    assert observed.state == ("canceled" if name == "cancel" else "succeeded")
    if name == "plugin":
        assert not observed.verified, "no answer shows the parameters of a task"
    elif name != "cancel":
        assert observed.in_order
        assert observed.verified
    metas = [page_of(target) for target in TARGETS] if SCENARIOS[name].meta else [None] * len(TARGETS)
    assert name == "cancel" or [task.meta for task in observed.tasks] == metas


def test_the_lab_has_three_thousand_distinct_mutations():
    names = [one.name for one in all_mutations()]
    assert len(set(names)) == len(names) >= 3000


@pytest.mark.parametrize("number", range(_TESTS))
def test_a_share_of_all_mutations_breaks_no_rule(environment, number):
    cases = generate_cases(seed=_SEED, count=_PAIRS, share=(7, _SHARE))
    _run_cases(environment, cases[number::_TESTS])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(_LONG_TESTS))
def test_a_larger_share_of_all_mutations_breaks_no_rule(environment, number):
    cases = generate_cases(seed=_SEED, count=_PAIRS, share=(1, _LONG_SHARE))
    _run_cases(environment, cases[number::_LONG_TESTS])


def test_the_page_is_made_from_the_present_tables():
    text = _PAGE.read_text()
    assert f"`{digest(all_mutations())}`" in text, "play `make wire` to write docs/explanation/answers.md anew"
    assert "Violations: 0." in text
    assert "not played" not in text
