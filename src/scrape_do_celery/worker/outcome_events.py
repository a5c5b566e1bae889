"""Send the events of a delivered outcome with the figures of its run, not with those of the delivery."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

from scrape_do_celery import routing
from scrape_do_celery.store import RunState


class OutcomeRequest(Request):  # type: ignore[misc]
    """The message of a delivery. Its events show the run: how long it took, how it ended, and its last progress.

    Celery would send the runtime of the delivery, some milliseconds. It would send `task-failed` for a canceled run,
    and monitors would show the failure beside the progress of an earlier event.
    """

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 (Celery's own name)
        """Send an event, with the facts about the run that its message carries."""
        facts = self._request_dict.get(routing.OUTCOME_HEADER)
        if isinstance(facts, dict) and type in {"task-succeeded", "task-failed"}:
            type, fields = describe_outcome(type, fields, facts)  # noqa: A001
        super().send_event(type, **fields)


def describe_outcome(kind: str, fields: dict[str, Any], facts: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the event of an outcome and its fields."""
    fields = {**fields, "runtime": facts["seconds"]}
    if kind != "task-failed":
        return kind, fields
    if facts["outcome"] == RunState.CANCELED:
        # Celery makes a state of the name of an unknown event. FAILURE would replace it, and nothing replaces FAILURE.
        return "task-canceled", {"result": facts["progress"], "runtime": facts["seconds"]}
    return kind, {**fields, "result": facts["progress"]}
