"""Read the schedules in the table of django-celery-beat."""

from __future__ import annotations

import json
from typing import Any

from django.apps import apps
from django.db import Error

from scrape_do_celery import routing
from scrape_do_celery.log_fields import get_logger, log_fields

log = get_logger(__name__)


def read_beat_table() -> list[tuple[Any, bool]]:
    """Return the arguments of each schedule in the table, if there is one, and whether beat publishes the schedule.

    A table that cannot be read is logged: the store and the settings still know the schedules.
    """
    if not apps.is_installed("django_celery_beat"):
        return []
    model = apps.get_model("django_celery_beat", "PeriodicTask")
    try:
        rows = list(model.objects.filter(task=routing.SCHEDULED_RUN).values_list("kwargs", "enabled"))
    except Error as error:
        log.warning(
            "the schedules of django-celery-beat could not be read: %s; run `manage.py migrate`, or check the database",
            error,
            extra=log_fields("beat_table_unreadable"),
        )
        return []
    return [(_read_json(kwargs), enabled) for kwargs, enabled in rows]


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # Users edit the text in the admin. Beat tells of the fault when the entry is due.
        return None
