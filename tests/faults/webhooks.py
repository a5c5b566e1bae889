"""Give the runs of a trial webhooks, and its deliveries faults that no receiver may suffer from."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.trials import Trial

#: The content of each forged delivery.
FORGED = "FORGED-BY-THE-LAB"
_FAULTS: tuple[dict[str, Any], ...] = (
    {"action": "webhook_lose"},
    {"action": "webhook_duplicate"},
    {"action": "webhook_late", "seconds": (0.1, 3.0)},
    {"action": "webhook_shuffle", "seconds": (0.1, 1.0)},
    {"action": "webhook_trim"},
    {"action": "webhook_other_task"},
    {"action": "webhook_other_task", "value": "other_job"},
    {"action": "webhook_chunked"},
    {"action": "webhook_no_headers"},
    {"action": "webhook_body"},
    {"action": "webhook_body", "body_kind": "empty"},
    {"action": "encoding", "value": "gzip"},
    {"action": "encoding", "value": "gzip_cut"},
    {"action": "cut", "times": 2},
    {"action": "reset_after", "times": 2},
    {"action": "mutate", "value": "upper", "fields": ["TaskID", "JobID", "Status"]},
    # Not the flag of Base64: without the flag nobody could read the page.
    {"action": "nulls", "fields": ["ResponseHeaders", "StatusCode", "StartTime"]},
)
#: Only for deliveries that are hints. As a page, such a content would be the API's own word.
_LIES: tuple[dict[str, Any], ...] = ({"action": "webhook_other_content"}, {"action": "webhook_trim", "size": 20})
#: The shares of the trials with a fault of their deliveries, and of those that are delivered before their `POST` is
#: answered.
_FAULTY_SHARE, _EARLY_SHARE = 0.6, 0.2


def add_webhooks(trial: Trial, trust: str) -> list[dict[str, Any]]:
    """Give each run of a trial webhooks, and return the sandbox's rules for their deliveries.

    A trial that aims at a poll of the job list, or at early pages, stays without: runs with webhooks have neither.
    """
    aims = [plan.point for plan in trial.planned_faults]
    if any("poll_job_list" in point for point in aims) or any("early" in run.options for run in trial.runs):
        return []
    for run in trial.runs:
        run.options["webhook"] = True
    rng = random.Random(f"webhooks {trial.seed} {trial.number}")
    rules = []
    if rng.random() < _FAULTY_SHARE:
        rules.append(_make_rule(trial, rng, rng.choice(_FAULTS + (_LIES if trust == "hint" else ()))))
    if rng.random() < _EARLY_SHARE:
        rules.append({"action": "webhook_early", "kind": "create_job", "target": trial.host, "seconds": 0.6})
    return rules


def _make_rule(trial: Trial, rng: random.Random, fault: dict[str, Any]) -> dict[str, Any]:
    values = {name: rng.uniform(*value) if isinstance(value, tuple) else value for name, value in fault.items()}
    return {
        "probability": rng.choice((0.5, 1.0)),
        **values,
        "kind": "webhook",
        "target": trial.host,
        "seed": trial.number,
    }
