"""Check the schedules of the store: a pause has no end of its own, and may be forgotten."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scrape_do_celery.findings import WARNING, Finding
from scrape_do_celery.outside_text import show_key
from scrape_do_celery.store.commands.schedules import ReadSchedules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.store import Store


def check_schedules(store: Store) -> Iterator[Finding]:
    """Find the schedules that are paused.

    Raises:
        RedisError: the store did not answer.
    """
    for name, pause in sorted(store.run(ReadSchedules()).pauses.items()):
        since = datetime.fromtimestamp(pause.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        by = f" by {pause.by}" if pause.by else ""
        note = f" ({pause.note})" if pause.note else ""
        yield Finding(
            WARNING,
            f"the schedule {show_key(name)} is paused since {since}{by}{note}, and its ticks make no runs; to go on: "
            f"scrape-do schedules resume {shlex.quote(name)}",
        )
