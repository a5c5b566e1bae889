"""The mirror, which keeps the table of runs up to date by the signal `run_changed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from scrape_do_celery.contrib.django import conf
from scrape_do_celery.contrib.django.models import ScrapeRun, fields_of
from scrape_do_celery.signals import run_changed

if TYPE_CHECKING:
    from scrape_do_celery.runs import RunStatus


def start_mirroring() -> None:
    """Mirror runs in this process from now on."""
    run_changed.connect(mirror_run, weak=False, dispatch_uid="scrape_do.mirror")


def mirror_run(status: RunStatus, **_: Any) -> None:
    """Write the status of a run to the table. A late status never replaces the status of an ended run."""
    runs = ScrapeRun.objects.using(conf.read_option("DATABASE"))
    fields = fields_of(status)
    going_on = {} if status.ended else {"ended__isnull": True}
    rows = runs.filter(run_id=status.run_id, **going_on)
    if rows.update(**fields, updated=timezone.now()):
        return
    _row, is_new = runs.get_or_create(run_id=status.run_id, defaults=fields)
    if not is_new:
        # Another process has created the row meanwhile, perhaps with an older status.
        rows.update(**fields, updated=timezone.now())
