"""Find the entries of schedules that the app, or the database of beat, declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery import routing
from scrape_do_celery.runs.hooks import hooks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

#: The types of the arguments that each entry has.
_TYPES: Final = {"name": str, "rule": dict, "if_running": str, "request": dict}


@dataclass(frozen=True, slots=True)
class BeatEntry:
    """An entry that `scheduled_run` has made. `is_ambiguous`: the app has another entry with this name."""

    name: str
    rule: dict[str, Any]
    if_running: str
    request: dict[str, Any] = field(repr=False)
    canvas: dict[str, Any] | None = field(default=None, repr=False)
    is_enabled: bool = True
    is_ambiguous: bool = False


def find_beat_entries(app: Celery) -> dict[str, BeatEntry]:
    """Return the entries of `beat_schedule`, and those of django-celery-beat's table, by the names of their schedules.

    An entry of the table comes first: beat reads the table, and users edit it.
    """
    found: dict[str, BeatEntry] = {}
    for entry in _read_config(app):
        other = found.get(entry.name)
        found[entry.name] = entry if other is None or other == entry else replace(entry, is_ambiguous=True)
    return found | {entry.name: entry for entry in _read_table()}


def _read_config(app: Celery) -> Iterator[BeatEntry]:
    for one in (app.conf.beat_schedule or {}).values():
        # Celery takes entries as dicts, and as objects with these attributes.
        given = one if isinstance(one, Mapping) else vars(one)
        if given.get("task") == routing.SCHEDULED_RUN and (entry := _read_entry(given.get("kwargs"))):
            yield entry


def _read_table() -> Iterator[BeatEntry]:
    for kwargs, is_enabled in hooks().stored_entries():
        if entry := _read_entry(kwargs):
            yield replace(entry, is_enabled=is_enabled)


def _read_entry(kwargs: Any) -> BeatEntry | None:
    """Return the entry of these arguments; None if they are not those of `scheduled_run`."""
    given = kwargs if isinstance(kwargs, Mapping) else {}
    fields: dict[str, Any] = {name: given.get(name) for name in _TYPES}
    if not all(isinstance(fields[name], kind) for name, kind in _TYPES.items()):
        return None
    return BeatEntry(**fields, canvas=given.get("canvas"))
