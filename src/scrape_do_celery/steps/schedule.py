"""Name the tick of a schedule's message, and start the run of the tick."""

from __future__ import annotations

import logging
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.schedules import tick_time
from scrape_do_celery.runs.schedules import current_tick
from scrape_do_celery.runs.ticks import create_tick_run, read_tick_spec
from scrape_do_celery.steps.once import RecentFilter
from scrape_do_celery.store.commands.creation import AssignTick, CreateResult, ScheduleTick

if TYPE_CHECKING:
    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.store.commands.creation import Created

log = get_logger(__name__)

#: Seconds in which the message of a tick usually comes. A second beat is hardly later.
_USUAL_DELAY = 120.0
_logged = RecentFilter()


def assign_tick(app_context: AppContext, message_id: str, rule: dict[str, Any]) -> str:
    """Return the tick of a message without a tick: the current tick at the first delivery of the message.

    A beat that does not know the step publishes such messages. A redelivery may come in the time of a later tick, so
    the first name is stored.
    """
    return app_context.store.run(AssignTick(message_id, current_tick(app_context, rule)))


def start_scheduled_run(
    app_context: AppContext,
    tick: ScheduleTick,
    request: dict[str, Any],
    canvas: dict[str, Any] | None = None,
    *,
    is_repeated: bool = False,
) -> str | None:
    """Start the run of a tick. Return its id, or None if the tick is skipped. Log each reason to make no run.

    `canvas` also holds the headers of beat's message, which the callbacks get. `is_repeated` says that the broker
    delivers the message again.

    A second call for the same tick changes nothing, also after a crash of the first call.

    Raises:
        ValueError: the request or a name is wrong, or its credentials are unknown here.
    """
    try:
        spec = read_tick_spec(app_context, tick.name, request)
        made = create_tick_run(app_context, tick, spec, canvas)
    except ValueError as error:
        # Celery logs the error of such a step as information, below its usual level.
        why = str(error)
        log.log(
            logging.ERROR,
            "schedule %s: the tick %s makes no run: %s",
            tick.name,
            tick.tick,
            why,
            extra=log_fields("tick_refused"),
        )
        raise
    if made.result == CreateResult.TICK_PAUSED:
        _log_paused(tick)
        return None
    if made.result == CreateResult.TICK_SKIPPED:
        _log_skipped(tick, made.run_id)
        return None
    if made.result == CreateResult.WAITING:
        log.info(
            "schedule %s: run %s of the tick %s waits for the end of an earlier run",
            tick.name,
            made.run_id,
            tick.tick,
            extra=log_fields("tick_waits", run_id=made.run_id),
        )
    elif not made.new:
        _log_no_run(tick, made, differs=made.digest != spec.digest, is_repeated=is_repeated)
    return made.run_id


def _level_of(level: int, tick: ScheduleTick, why: str) -> int:
    """Return the level of a line. When clocks change, some beats publish a tick each second: one line is enough."""
    return level if _logged.is_first(tick.name, tick.tick, why) else logging.DEBUG


def _log_paused(tick: ScheduleTick) -> None:
    log.info(
        "schedule %s: the tick %s is skipped: the schedule is paused; to go on: scrape-do schedules resume %s",
        tick.name,
        tick.tick,
        shlex.quote(tick.name),
        extra=log_fields("tick_paused"),
    )


def _log_skipped(tick: ScheduleTick, live_run: str) -> None:
    if not live_run:
        why = "its message came again, and the tick was skipped before"
    else:
        # With `cancel_previous`, only a tick that is older than the live run's does not replace that run.
        which = "a later" if tick.if_running == "cancel_previous" else "another"
        why = f"run {live_run} of {which} tick is live (if_running={tick.if_running})"
    log.log(
        _level_of(logging.INFO, tick, why),
        "schedule %s: the tick %s is skipped: %s",
        tick.name,
        tick.tick,
        why,
        extra=log_fields("tick_skipped", run_id=live_run),
    )


def _log_no_run(tick: ScheduleTick, made: Created, *, differs: bool, is_repeated: bool) -> None:
    """Log that a message makes no run, because its tick has one. Two beats publish each tick twice, which is usual."""
    at = tick_time(tick.tick)
    late = 0.0 if at is None or is_repeated else (datetime.now(UTC) - at).total_seconds()
    level, hint = logging.INFO, ""
    if differs:
        level = logging.WARNING
        hint = "; the run has another request, so that this one is not bought: give each entry a name of its own"
    elif late > _USUAL_DELAY:
        level = logging.WARNING
        hint = (
            f"; the message came {late:,.0f} s after the tick: if beat publishes more often than the entry's schedule "
            "says, declare the entry again with the schedule of beat"
        )
    log.log(
        _level_of(level, tick, "differs" if differs else made.run_id),
        "schedule %s: a message for the tick %s makes no run: the tick has run %s%s",
        tick.name,
        tick.tick,
        made.run_id,
        hint,
        extra=log_fields("tick_has_run", run_id=made.run_id),
    )
