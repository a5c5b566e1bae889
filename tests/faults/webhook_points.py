"""The points that only runs with webhooks reach, and the catalogue of a lab.

`python -m tests.faults --discover --webhooks content` prints the rows.
"""

from __future__ import annotations

from tests.faults.points import POINTS

WEBHOOK_POINTS: dict[str, str] = {
    "cancel_run: after read_deliveries": "cancel_late",
    "cancel_run: after read_webhook_trust": "cancel_late",
    "cancel_run: before read_deliveries": "cancel_late",
    "cancel_run: before read_webhook_trust": "cancel_late",
    "fetch_tasks: after read_deliveries": "untold",
    "fetch_tasks: after read_webhook_trust": "untold",
    "fetch_tasks: before read_deliveries": "untold",
    "fetch_tasks: before read_webhook_trust": "untold",
    "poll_jobs: after distrust_webhooks": "distrusted",
    "poll_jobs: after drop_deliveries": "told_early",
    "poll_jobs: after hold_content": "odd_hint",
    "poll_jobs: after publish poll_jobs": "hinted",
    "poll_jobs: after read_deliveries": "plain",
    "poll_jobs: after read_webhook_trust": "hinted",
    "poll_jobs: before distrust_webhooks": "distrusted",
    "poll_jobs: before drop_deliveries": "told_early",
    "poll_jobs: before hold_content": "odd_hint",
    "poll_jobs: before publish poll_jobs": "hinted",
    "poll_jobs: before read_deliveries": "plain",
    "poll_jobs: before read_webhook_trust": "hinted",
    "reconcile_submit: after read_deliveries": "noted",
    "reconcile_submit: before read_deliveries": "noted",
    "submit_jobs: after publish poll_jobs": "told_early",
    "submit_jobs: before publish poll_jobs": "told_early",
}
#: Words of points that only a lab reaches whose receivers store pages.
_OF_CONTENT = ("read_webhook_trust", "distrust_webhooks")


def list_points(webhooks: str) -> dict[str, str]:
    """Return the points of a lab whose deliveries are trusted in this way; an empty text stands for no webhooks."""
    if not webhooks:
        return POINTS
    found = {**POINTS, **WEBHOOK_POINTS}
    is_hint = webhooks == "hint"
    return {point: found[point] for point in found if not (is_hint and any(word in point for word in _OF_CONTENT))}
