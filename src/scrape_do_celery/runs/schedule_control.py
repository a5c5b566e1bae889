"""Pause and resume schedules, and start their runs beside their ticks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scrape_do_celery.models.sendable import why_no_name
from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import show_key
from scrape_do_celery.rules.schedules import TickDecision
from scrape_do_celery.runs.beat_entries import find_beat_entries
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.idempotency import check_key
from scrape_do_celery.runs.schedules import current_tick, write_rule
from scrape_do_celery.runs.store_guard import check_start
from scrape_do_celery.runs.ticks import create_tick_run, read_tick_spec
from scrape_do_celery.store.commands.creation import CreateResult, ScheduleTick
from scrape_do_celery.store.commands.schedules import PauseSchedule, ReadSchedules

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings
    from scrape_do_celery.runs.beat_entries import BeatEntry
    from scrape_do_celery.store.commands.creation import Created

#: Characters of the note of a pause, at most.
LONGEST_NOTE: Final = 500


@dataclass(frozen=True, slots=True)
class ScheduleStart:
    """The decision about a call of `run_schedule`.

    Attributes:
        decision: `started`, `queued` or `skipped`. A repeated call whose run exists is `started`, too.
        run_id: the id of the run; None if the call was skipped.
        live_run: the run that goes on, because of which the call was skipped. None after a repeated call.
    """

    decision: TickDecision
    run_id: str | None
    live_run: str | None = None


def pause_schedule(
    name: str,
    *,
    by: str | None = None,
    note: str | None = None,
    force: bool = False,
    settings: Settings | None = None,
) -> bool:
    """Let the ticks of a schedule make no runs, until `resume_schedule`.

    Each tick that is decided in the meantime is skipped for good: no run is made up for after the pause. Runs that were
    made before go on, also a run that waits for the one before it (`if_running="queue"`): cancel it to stop it.
    `run_schedule` works all the same. A pause has no end of its own, and a restart of beat or of workers keeps it.

    Args:
        name: the name of the schedule.
        by: who pauses it, for the list of schedules.
        note: why, for the list of schedules.
        force: whether a name may be paused that neither the store nor the app of this process knows.
        settings: settings of this call. None takes those of the framework or of the environment.

    Returns:
        Whether the schedule was not paused before. An earlier pause keeps its time, name and note.

    Raises:
        ValueError: an argument is wrong, or the name is not known. Nothing was written.
        StoreUnavailableError: Redis did not answer, or refused.
    """
    for field, text in {"by": by, "note": note}.items():
        if text is not None and (fault := why_no_name(text, LONGEST_NOTE)):
            raise ValueError(f"{field} {fault}")
    return _switch_schedule(PauseSchedule(name, is_paused=True, by=by, note=note), settings, force=force)


def resume_schedule(name: str, *, settings: Settings | None = None) -> bool:
    """Let the next tick of a schedule make a run again.

    Args:
        name: the name of the schedule.
        settings: settings of this call. None takes those of the framework or of the environment.

    Returns:
        Whether the schedule was paused before.

    Raises:
        ValueError: the name is wrong or not known. Nothing was written.
        StoreUnavailableError: Redis did not answer, or refused.
    """
    return _switch_schedule(PauseSchedule(name, is_paused=False), settings, force=False)


def run_schedule(name: str, *, idempotency_key: str | None = None, settings: Settings | None = None) -> ScheduleStart:
    """Start a run of a schedule now, beside its ticks. Its pause does not matter; `if_running` does.

    The request is that of the entry in `beat_schedule` of the app of this process, or else in the table of
    django-celery-beat. If both have one, the table counts. This process needs the `credentials` that the entry names.

    Args:
        name: the name of the schedule.
        idempotency_key: a key of this schedule. A second call with the key, within a week, changes nothing.
        settings: settings of this call. None takes those of the framework or of the environment.

    Returns:
        The decision, and the run.

    Raises:
        ValueError: an argument is wrong, this process has no entry with the name, or its request is wrong. Nothing was
            written.
        ConfigurationError: the app has `task_always_eager` or no broker; or this is a test run, and nobody gave it this
            store.
        StoreUnavailableError: Redis did not answer, or refused. To repeat the call without a second purchase, pass the
            same `idempotency_key`.
    """
    key = check_key(idempotency_key) or str(uuid.uuid4())
    context = AppContext.for_app(settings=settings)
    check_start(context)
    entry = _find_entry(context, name)
    tick = ScheduleTick(
        *(name, current_tick(context, entry.rule), entry.if_running),
        rule=write_rule(context, entry.rule),
        command_id=key,
    )
    spec = read_tick_spec(context, tick.name, entry.request)
    return _read_decision(create_tick_run(context, tick, spec, entry.canvas))


def _find_entry(context: AppContext, name: str) -> BeatEntry:
    """Return the entry with a name.

    Raises:
        ValueError: there is no such entry, or there are several.
    """
    entries = find_beat_entries(context.app)
    entry = entries.get(name)
    if entry is None:
        _refuse_unknown(context, name, entries)
        raise ValueError(
            f"the request of the schedule {show_key(name)} is not known here: neither beat_schedule of this app nor "
            "the table of django-celery-beat has an entry with this name. Run the command with the app that declares "
            "the schedule, as `celery -A <app> scrape-do schedules run` or `manage.py scrape_do schedules run`"
        )
    if entry.is_ambiguous:
        raise ValueError(
            f"beat_schedule has two different entries with the name {show_key(name)}: give each entry a name of its own"
        )
    return entry


def _read_decision(made: Created) -> ScheduleStart:
    if made.result == CreateResult.TICK_SKIPPED:
        return ScheduleStart(TickDecision.SKIPPED, None, made.run_id or None)
    is_queued = made.result == CreateResult.WAITING
    return ScheduleStart(TickDecision.QUEUED if is_queued else TickDecision.STARTED, made.run_id)


def _switch_schedule(command: PauseSchedule, settings: Settings | None, *, force: bool) -> bool:
    if fault := why_no_name(command.name):
        raise ValueError(f"name {fault}")
    context = AppContext.for_app(settings=settings)
    if not force:
        _refuse_unknown(context, command.name, find_beat_entries(context.app))
    return context.store.run(command)


def _refuse_unknown(context: AppContext, name: str, entries: dict[str, BeatEntry]) -> None:
    stored = context.store.run(ReadSchedules())
    known = {*stored.rows, *stored.pauses, *entries}
    if name not in known:
        raise ValueError(
            f"no schedule with the name {show_key(name)} has ticked in the last 91 days, and this app declares none"
            f"{suggest_name(str(name), known)}"
        )
