"""The table of runs in the project's own database, for teams that list and join runs there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from scrape_do_celery.models.reasons import reasons_to_json
from scrape_do_celery.runs import RunHandle

if TYPE_CHECKING:
    from datetime import datetime

    from scrape_do_celery.runs import RunStatus


class ScrapeRun(models.Model):
    """The last announced status of a run. Written only if `SCRAPE_DO["MIRROR"]` is true; pages stay in the store."""

    run_id: models.CharField[str, str] = models.CharField(primary_key=True, max_length=255)
    state: models.CharField[str, str] = models.CharField(max_length=16, db_index=True)
    label: models.CharField[str, str] = models.CharField(max_length=64, blank=True, db_default="", db_index=True)
    tags = models.JSONField(null=True, blank=True, editable=False)
    #: as `RunStatus.hosts` has them
    hosts: models.CharField[str, str] = models.CharField(max_length=300, blank=True, db_default="")
    done: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(default=0)
    failed: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(default=0)
    gone: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(default=0)
    total: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(default=0)
    credits: models.FloatField[float, float] = models.FloatField(default=0)
    jobs = models.JSONField(default=list, blank=True)
    error_type: models.CharField[str, str] = models.CharField(max_length=100, blank=True)
    error: models.TextField[str, str] = models.TextField(blank=True)
    #: why the run waited when it was last announced, as `RunStatus.to_json()` has it; None if nothing held it back
    waiting_for = models.JSONField(null=True, blank=True, editable=False)
    #: the reasons of failed tasks with their numbers, as `RunStatus.to_json()` has them
    reasons = models.JSONField(null=True, blank=True, editable=False)
    created: models.DateTimeField[datetime, datetime] = models.DateTimeField(db_index=True)
    ended: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(null=True, blank=True)
    updated: models.DateTimeField[datetime, datetime] = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-created",)
        verbose_name = "scrape"

    def __str__(self) -> str:
        return f"{self.run_id} ({self.state})"

    @property
    def handle(self) -> RunHandle:
        """The handle of the run, for its pages, its current progress and its cancellation."""
        return RunHandle(self.run_id)


def fields_of(status: RunStatus) -> dict[str, Any]:
    """Return the values of the columns for a status."""
    error = status.error
    return {
        "state": status.state.value,
        **{name: getattr(status, name) for name in ("done", "failed", "gone", "total", "credits", "created", "ended")},
        "label": status.label or "",
        "tags": list(status.tags),
        "hosts": status.hosts,
        "jobs": list(status.jobs),
        "waiting_for": None if status.waiting_for is None else status.waiting_for.to_json(),
        "reasons": reasons_to_json(status.reasons),
        "error_type": "" if error is None else type(error).__name__,
        "error": "" if error is None else str(error),
    }
