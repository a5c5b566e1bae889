"""Test which reason is shown if a run waits."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIAuthError,
    AsyncAPIRateLimitError,
    AsyncAPIServerError,
)
from scrape_do_celery.rules.states import PartState
from scrape_do_celery.rules.waits import PartFacts, StoreFacts, WaitKind, decide_wait, kind_of_trouble

NOW = 1_764_000_000.0
QUEUED = {"state": PartState.QUEUED}


def store(**changes):
    facts = {"now": NOW, "has_worker": True, "is_young": False, "paused_until": None, "used": 0.0}
    return StoreFacts(**{**facts, "policy": "noeviction", **changes})


def wait_of(part=QUEUED, **of_store):
    return decide_wait([PartFacts(**{**QUEUED, **part})], store(**of_store))


#: For each kind in its order, the facts of a part and of the store that show it.
SHOWN = {
    WaitKind.NO_WORKER: ({}, {"has_worker": False}),
    WaitKind.TOKEN_REFUSED: ({"refused_since": NOW - 60}, {}),
    WaitKind.VALUE_REFUSED: (
        {"trouble": WaitKind.VALUE_REFUSED, "error": "run r: the field spec", "trouble_since": NOW},
        {},
    ),
    WaitKind.STORE_FULL: ({}, {"used": 0.81}),
    WaitKind.RATE_LIMITED: ({}, {"paused_until": NOW + 5}),
    WaitKind.STEP_NOT_TAKEN: ({"dispatches": 3, "untaken_since": NOW - 20}, {}),
    WaitKind.API_UNREACHABLE: (
        {"trouble": WaitKind.API_UNREACHABLE, "error": "ConnectError", "trouble_since": NOW - 9},
        {},
    ),
    WaitKind.API_ERROR: ({"trouble": WaitKind.API_ERROR, "error": "502"}, {}),
    WaitKind.RECONCILING: ({"state": PartState.RECONCILING, "in_doubt_since": NOW - 9}, {}),
    WaitKind.BUDGET: ({"budget": "2500 day tag:shop:7", "due_at": NOW + 9}, {}),
    WaitKind.IN_LINE: ({"ahead": 1234, "in_line_since": NOW - 9}, {}),
    WaitKind.SAME_TARGETS: ({"is_locked": True}, {}),
}


@pytest.mark.parametrize(
    ("budget", "named"),
    [
        (
            "2500 day tag:shop:7",
            "reserves 2.5 credits, and the limit of the tag shop:7 for this day has too little left",
        ),
        ("2500 day tag:shop:7", "the next day (UTC) begins; to see it: scrape-do budgets list"),
        (
            "2500 month account:7f",
            "until the limit rises, other purchases cost less than they reserved, or the next month",
        ),
        (
            "2500 stop account:7f",
            "purchases of the account 7f are stopped; to go on: scrape-do budgets resume account:7f",
        ),
        ("2500 run run", "max_credits of the run has too little left until the costs of its other parts are known"),
    ],
)
def test_wait_for_a_budget_says_how_the_wait_ends(budget, named):
    found = wait_of({"budget": budget, "due_at": NOW + 9})
    assert named in found.text
    assert found.until is None, "the next step of the part is no end of the wait"


@pytest.mark.parametrize("kind", WaitKind)
def test_each_kind_is_shown(kind):
    part, of_store = SHOWN[kind]
    found = wait_of(part, **of_store)
    assert found.kind is kind
    assert str(found) == found.text == found.to_json()["text"]
    assert found.to_json().keys() == {"kind", "text", "since", "until", "ahead"}


@pytest.mark.parametrize(("first", "second"), list(pairwise(WaitKind)))
def test_the_reason_that_keeps_others_from_ending_comes_first(first, second):
    (part, of_store), (other_part, of_other) = SHOWN[first], SHOWN[second]
    parts = [PartFacts(**{**QUEUED, **facts}) for facts in (other_part, part)]
    assert decide_wait(parts, store(**{**of_other, **of_store})).kind is first


def test_a_run_that_nothing_holds_back_waits_for_nothing():
    assert wait_of() is None
    assert decide_wait([PartFacts(PartState.RUNNING)], store(used=0.99)) is None
    assert decide_wait([PartFacts(PartState.QUEUED)], None) is None


def test_a_server_that_was_just_started_does_not_know_its_workers():
    assert wait_of(has_worker=False, is_young=True) is None


def test_the_data_of_a_wait():
    found = wait_of(*SHOWN[WaitKind.IN_LINE][:1])
    assert (found.ahead, found.to_json()["since"]) == (1234, "2025-11-24T15:59:51+00:00")
    assert found.text.startswith("1,234 parts wait before it for a job slot")
    assert wait_of(paused_until=NOW + 5).until.timestamp() == NOW + 5
    assert wait_of({"refused_since": NOW}).text.startswith("the API refuses the token since 2025-11-24 16:00:00 UTC")


@pytest.mark.parametrize(
    ("dispatches", "seconds", "untaken"),
    [(3, 20, True), (2, 20, False), (0, 61, True), (5, -1, False), (0, None, False)],
)
def test_a_step_counts_as_not_taken(dispatches, seconds, untaken):
    """Count messages without a claim; in a backlog, in which they are rare, count the time."""
    since = None if seconds is None else NOW - seconds
    found = wait_of({"dispatches": dispatches, "untaken_since": since})
    assert (found and found.kind) is (WaitKind.STEP_NOT_TAKEN if untaken else None)


def test_a_text_of_the_api_is_shown_without_secrets_and_on_one_line():
    part = {"trouble": WaitKind.API_ERROR, "error": "500: token=abcdef1234\nFORGED"}
    assert "token=***" in wait_of(part).text
    assert "\n" not in wait_of(part).text


def test_the_part_that_waited_first_is_shown():
    parts = [PartFacts(PartState.QUEUED, ahead=n, in_line_since=NOW - n) for n in (3, 9, 5)]
    assert decide_wait(parts, store()).ahead == 9


@pytest.mark.parametrize(
    ("state", "used", "what"),
    [
        (PartState.QUEUED, 0.8, "no job is bought"),
        (PartState.FETCHING, 0.95, "fetching pauses"),
        (PartState.FETCHING, 0.9, None),
        (PartState.RUNNING, 1.0, None),
    ],
)
def test_a_full_store_holds_back_what_needs_memory(state, used, what):
    found = decide_wait([PartFacts(state)], store(used=used))
    assert (found and what in found.text) if what else found is None


def test_a_store_that_deletes_keys_buys_nothing():
    found = wait_of(policy="allkeys-lru")
    assert (found.kind, "allkeys-lru" in found.text) == (WaitKind.STORE_FULL, True)
    assert decide_wait([PartFacts(PartState.RUNNING)], store(policy="allkeys-lru")) is None


def test_a_pause_counts_until_its_end():
    part = {"trouble": WaitKind.RATE_LIMITED, "due_at": NOW + 3}
    assert wait_of(part).until.timestamp() == NOW + 3
    assert wait_of({**part, "due_at": NOW - 1}) is None
    assert wait_of({**part, "due_at": None}) is None
    assert wait_of(paused_until=NOW - 1) is None
    assert decide_wait([PartFacts(**{**QUEUED, **part})], None).kind is WaitKind.RATE_LIMITED


def test_a_refusal_counts_until_the_account_is_accepted():
    met = {"trouble": WaitKind.TOKEN_REFUSED, "error": "401", "trouble_since": NOW}
    assert wait_of(met) is None
    assert wait_of({**met, "refused_since": NOW}).kind is WaitKind.TOKEN_REFUSED
    found = decide_wait([PartFacts(**{**met, "state": PartState.RECONCILING, "in_doubt_since": NOW})], store())
    assert found.kind is WaitKind.RECONCILING


@pytest.mark.parametrize(
    ("fails_at", "said"),
    [
        (NOW + 60, "; at 2025-11-24 16:01:00 UTC, runs that still wait fail (SCRAPE_DO_AUTH_GRACE)"),
        (NOW - 1, "; SCRAPE_DO_AUTH_GRACE is over: if the next try is refused too, the run fails"),
        (None, "the credits of the account"),
    ],
)
def test_a_refused_token_tells_when_its_runs_fail(fails_at, said):
    found = wait_of({"refused_since": NOW - 9, "fails_at": fails_at})
    assert found.text.endswith(said)
    assert (found.until and found.until.timestamp()) == fails_at


def test_a_reader_with_another_token_is_told_to_restart_the_workers():
    text = wait_of({"refused_since": NOW, "has_other_token": True}).text
    assert text.startswith("the API refuses another token than that of this process since 2025-11-24 16:00:00 UTC")
    assert text.endswith("; start the workers again with this one")


def test_an_error_that_the_reader_cannot_decrypt_has_a_text_of_its_kind():
    refused = wait_of({"trouble": WaitKind.VALUE_REFUSED})
    assert "repeat this with SCRAPE_DO_ENCRYPTION_KEY of the workers, or read their log" in refused.text
    assert "the error cannot be read with SCRAPE_DO_ENCRYPTION_KEY" in wait_of({"trouble": WaitKind.API_ERROR}).text


def test_a_purchase_in_doubt_names_its_cause():
    found = wait_of({"state": PartState.RECONCILING, "submit_error": "the answer was cut off"})
    assert "the search for the job goes on: the answer was cut off" in found.text
    assert "the step died" in wait_of({"state": PartState.RECONCILING}).text


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AsyncAPIAuthError("no", 401), WaitKind.TOKEN_REFUSED),
        (AsyncAPIRateLimitError("slow", 429), WaitKind.RATE_LIMITED),
        (APIConnectionError("cut"), WaitKind.API_UNREACHABLE),
        (AsyncAPIServerError("ill", 500), WaitKind.API_ERROR),
    ],
)
def test_an_error_has_a_kind(error, kind):
    assert kind_of_trouble(error) is kind


def test_the_docs_name_each_kind_in_its_order():
    text = (Path(__file__).parents[3] / "docs" / "how-to" / "failures.md").read_text()
    table = text.partition("## Why a run waits")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE)[1:] == [kind.value for kind in WaitKind]
