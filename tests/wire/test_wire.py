"""A share of the lab in every run of the tests, and all of it in the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire.driver import SCENARIOS, play
from tests.wire.lab import deals, play_one
from tests.wire.mutations import all_mutations
from tests.wire.page import digest
from tests.wire.report import violations

_SEED, _PAIRS = 1, 500
#: Every so-many-th deal is played, in so many tests.
_SHARE, _TESTS = 40, 4
#: The whole play in two tests, for two cores.
_HALVES = 2
_PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "answers.md"


def _play(ground, dealt):
    broken = [line for line in (play_one(ground, deal) for deal in dealt) if line.violations]
    assert not broken, violations(broken)


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_a_mutation_every_scenario_ends_well(ground, name):
    played = play(ground, SCENARIOS[name])
    assert played.ended
    assert played.bought == 1
    assert not played.escaped
    assert not played.leaks
    assert played.state == ("canceled" if name == "cancel" else "succeeded")
    assert name == "cancel" or (played.placed and played.verified)


def test_the_lab_has_three_thousand_distinct_mutations():
    names = [one.name for one in all_mutations()]
    assert len(set(names)) == len(names) >= 3000


@pytest.mark.parametrize("number", range(_TESTS))
def test_a_share_of_all_mutations_breaks_no_rule(ground, number):
    dealt = deals(seed=_SEED, count=_PAIRS, share=(7, _SHARE))
    _play(ground, dealt[number::_TESTS])


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(_HALVES))
def test_no_mutation_breaks_a_rule(ground, number):
    _play(ground, deals(seed=_SEED, count=_PAIRS)[number::_HALVES])


def test_the_page_is_made_from_the_present_tables():
    text = _PAGE.read_text()
    assert f"`{digest(all_mutations())}`" in text, "play `make wire` to write docs/explanation/answers.md anew"
    assert "Violations: 0." in text
    assert "not played" not in text
