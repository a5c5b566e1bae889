"""The Celery tasks that process pages."""

from __future__ import annotations

import re
from typing import Any

from celery import shared_task
from pages.models import Title

from scrape_do_celery import RunHandle


@shared_task
def save_titles(result: dict[str, Any]) -> int:
    """Save the title of each page of a succeeded run, and return the number of pages."""
    titles = []
    for task in RunHandle(result["run_id"]).iter_tasks():
        found = re.search(r"<title>(.*?)</title>", task.content or "", re.DOTALL)
        titles.append(Title(run_id=result["run_id"], url=task.url, text=found.group(1).strip() if found else ""))
    # Celery calls callbacks at least once, so a second call must change nothing.
    Title.objects.bulk_create(titles, ignore_conflicts=True)
    return len(titles)
