"""Give the runs of a trial webhooks, and its deliveries faults that no receiver may suffer from."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from tests.faults.webhook_points import WEBHOOK_POINTS

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
    {"action": "mutate", "value": "upper", "fields": ["Status"]},
    {"action": "nulls", "fields": ["StartTime", "UpdateTime", "TraceID", "WebhookStatus"]},
)
#: Only for deliveries that are hints. In a page they would be the API's own word, and end the trust of the account.
_LIES: tuple[dict[str, Any], ...] = (
    {"action": "webhook_other_content"},
    {"action": "webhook_trim", "size": 20},
    {"action": "nulls"},
)
#: The share of trials whose deliveries have a fault, and the share whose `POST` is answered after a delivery.
_FAULTY_SHARE, _EARLY_SHARE = 0.6, 0.2
#: The share of trials without webhooks. Several of their runs must be in flight for a poll by the list.
_PLAIN_SHARE = 0.3


def add_webhooks(trial: Trial, trust: str) -> list[dict[str, Any]]:
    """Give each run of a trial webhooks, and return the sandbox's rules for their deliveries.

    Some trials stay without, because runs with webhooks have neither polls by the job list nor early pages.
    """
    rng = random.Random(f"webhooks {trial.seed} {trial.number}")
    if not _must_have_webhooks(trial) and (rng.random() < _PLAIN_SHARE or _must_be_plain(trial)):
        return []
    for run in trial.runs:
        run.options["webhook"] = True
        run.kept = run.gone if trust == "content" else 0
    rules = []
    if rng.random() < _FAULTY_SHARE:
        rules.append(_make_rule(trial, rng, rng.choice(_FAULTS + (_LIES if trust == "hint" else ()))))
    if rng.random() < _EARLY_SHARE:
        rules.append({"action": "webhook_early", "kind": "create_job", "target": trial.host, "seconds": 0.6})
    return rules


def _must_have_webhooks(trial: Trial) -> bool:
    return any(plan.point in WEBHOOK_POINTS for plan in trial.planned_faults)


def _must_be_plain(trial: Trial) -> bool:
    aims_at_list = any("poll_job_list" in plan.point for plan in trial.planned_faults)
    # A delivery brings the page of a run whose steps all die, so the run may end well.
    return aims_at_list or any("early" in run.options or "poisoned" in (run.expect or ()) for run in trial.runs)


def _make_rule(trial: Trial, rng: random.Random, fault: dict[str, Any]) -> dict[str, Any]:
    values = {name: rng.uniform(*value) if isinstance(value, tuple) else value for name, value in fault.items()}
    return {
        "probability": rng.choice((0.5, 1.0)),
        **values,
        "kind": "webhook",
        "target": trial.host,
        "seed": trial.number,
    }
