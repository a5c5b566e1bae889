"""Faults of the API that affect the calls of one trial only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.trials import Trial, add_equal_run, with_query

if TYPE_CHECKING:
    import random

_LOST_ANSWERS: tuple[dict[str, Any], ...] = (
    {"action": "reset_after"},
    {"action": "reset_before"},
    {"action": "accept_late", "seconds": (0.3, 1.2)},
    {"action": "slow", "seconds": (1.2, 1.6)},
    {"action": "cut"},
    {"action": "html"},
    {"action": "empty_204"},
    {"action": "redirect_302"},
    *({"action": "status", "status": status} for status in (500, 502, 503, 408, 409, 425)),
)
_POST_FAULTS: tuple[dict[str, Any], ...] = (
    *_LOST_ANSWERS,
    {"action": "status", "status": 429, "retry_after": 0.3},
    {"action": "shuffle_task_ids"},
    {"action": "nulls"},
)
_READ_FAULTS: tuple[dict[str, Any], ...] = (
    {"action": "reset_after"},
    {"action": "reset_before"},
    {"action": "cut"},
    {"action": "html"},
    {"action": "empty_204"},
    {"action": "redirect_302"},
    {"action": "not_found_at_first", "seconds": (0.2, 0.8)},
    # Not the flag of Base64: without the flag no client could read the page.
    {"action": "nulls", "fields": ["TaskIDs", "Tasks", "ResponseHeaders", "Scrape.do", "StatusCode"]},
    {"action": "unknown_status"},
    {"action": "slow", "seconds": (0.3, 1.0)},
    *({"action": "status", "status": status} for status in (500, 503, 401, 403, 408)),
    {"action": "status", "status": 429, "retry_after": 0.3},
)
#: Faults that stay, on all calls of the run.
_LASTING_FAULTS: tuple[dict[str, Any], ...] = (
    {"action": "shuffle_task_ids"},
    {"action": "list_headers"},
    {"action": "zero_times"},
    {"action": "naive_times"},
    {"action": "skew", "seconds": (-60, 60)},
)


def _add_rule(trial: Trial, rng: random.Random, kind: str | None, fault: dict[str, Any], times: int | None) -> None:
    rule = {name: rng.uniform(*value) if isinstance(value, tuple) else value for name, value in fault.items()}
    trial.rules.append({**rule, "target": trial.host, "kind": kind, "times": times})


def post(trial: Trial, rng: random.Random) -> None:
    """Fail the `POST` once or twice."""
    _add_rule(trial, rng, "create_job", rng.choice(_POST_FAULTS), rng.choice((1, 1, 1, 2)))


def lose_answer(trial: Trial, rng: random.Random) -> None:
    """Lose the answer of the `POST`, so that the purchase is in doubt."""
    _add_rule(trial, rng, "create_job", rng.choice(_LOST_ANSWERS), 1)


def read(trial: Trial, rng: random.Random) -> None:
    """Fail a few polls of the job or fetches of its tasks."""
    _add_rule(trial, rng, rng.choice(("get_job", "get_task")), rng.choice(_READ_FAULTS), rng.choice((1, 1, 2, 3)))


def lasting(trial: Trial, rng: random.Random) -> None:
    """Make the API answer in an unusual form for the whole run."""
    _add_rule(trial, rng, None, rng.choice(_LASTING_FAULTS), None)


def gone(trial: Trial, rng: random.Random) -> None:
    """Remove one page that is paid."""
    # Not 404: the API may answer 404 for a young job, so a 404 does not count in its first minute.
    with_query(trial, "gone=410", only_first=True)
    run = trial.runs[0]
    run.succeeded, run.failed, run.gone = run.succeeded - 1, 1, 1
    trial.counts_by = "nothing"


def refused(trial: Trial, rng: random.Random) -> None:
    """Refuse the purchase."""
    status = rng.choice((400, 404, 410, 422))
    _add_rule(trial, rng, "create_job", {"action": "status", "status": status}, None)
    trial.expect, trial.purchases, trial.runs[0].succeeded = frozenset({"failed"}), (0, 0), 0


def equal_runs(trial: Trial, rng: random.Random) -> None:
    """Plan two runs with equal targets and other options, and sometimes lose the answer to a `POST`."""
    add_equal_run(trial, rng)
    if rng.random() < 0.7:
        _add_rule(trial, rng, "create_job", rng.choice(_LOST_ANSWERS), rng.choice((1, 2)))
    else:
        trial.counts_by = "nothing"
