"""Keeping the table of runs up to date, by the signal of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from scrape_do_celery.contrib.django import conf
from scrape_do_celery.contrib.django.models import ScrapeRun, fields_of
from scrape_do_celery.signals import run_changed

if TYPE_CHECKING:
    from scrape_do_celery.runs import RunStatus


def start() -> None:
    """Mirrors from now on, in this process."""
    run_changed.connect(mirror, weak=False, dispatch_uid="scrape_do.mirror")


def mirror(status: RunStatus, **_: Any) -> None:
    """Writes a run's status down. What has ended is not brought back by a word that comes late."""
    runs = ScrapeRun.objects.using(conf.option("DATABASE"))
    fields = fields_of(status)
    going_on = {} if status.ended else {"ended__isnull": True}
    rows = runs.filter(run_id=status.run_id, **going_on)
    if rows.update(**fields, updated=timezone.now()):
        return
    _row, is_new = runs.get_or_create(run_id=status.run_id, defaults=fields)
    if not is_new:
        # Another process has made it meanwhile, perhaps with an older word.
        rows.update(**fields, updated=timezone.now())
