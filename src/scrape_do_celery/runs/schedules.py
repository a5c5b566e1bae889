"""Make entries for Celery beat, with a check of the request at the declaration."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack, get_args

from celery.schedules import crontab
from kombu.utils.json import dumps

from scrape_do_celery import routing
from scrape_do_celery.models.sendable import caller_level, canonical_json, why_no_name
from scrape_do_celery.models.wire import wire_name
from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import show_key
from scrape_do_celery.redaction import schedule_summary
from scrape_do_celery.rules.schedules import schedule_rule, tick, with_zone
from scrape_do_celery.runs.canvas import callback_canvas
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.options import RUN_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from celery.canvas import Signature

    from scrape_do_celery.models.targets import TargetInput
    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.store.options import EnqueueOptions

IfRunning = Literal["skip", "queue", "cancel_previous"]
#: Fields that a schedule must not hold: beat stores its entries, and brokers carry them.
_SECRET: Final = ("headers", "set_cookies", "webhook_headers", "body")

#: The arguments of `scheduled_run` beside the options, which a wrong name may mean.
_KEYWORDS: Final = ("name", "schedule", "if_running", "credentials", "on_success", "on_failure")

_HOURS: Final = 24
_MINUTES: Final = 60


def scheduled_run(  # noqa: PLR0913 (one argument for each option of a schedule)
    name: str,
    schedule: crontab | timedelta | float,
    targets: Iterable[TargetInput] | None = None,
    *,
    if_running: IfRunning = "skip",
    credentials: str | None = None,
    on_success: Signature | None = None,
    on_failure: Signature | None = None,
    **options: Unpack[EnqueueOptions],
) -> dict[str, Any]:
    """Return an entry for Celery's `beat_schedule` that starts a run at each tick.

    A tick is the minute of a crontab, or a multiple of an interval since the epoch. A crontab with a time zone of its
    own, such as django-celery-beat's `TzAwareCrontab`, keeps the zone. Each tick makes one run, even if
    several beats publish the tick. A crontab with hours and without a minute, such as `crontab(hour=6)`, makes 60 ticks
    an hour: a warning names the number of runs.

    Args:
        name: the name of the schedule, not blank. Entries with one name are one schedule. The name is the label of its
            runs, if `options` has none and the name can be a label.
        schedule: a crontab, or an interval of at least 1 second as a timedelta or in seconds.
        targets: absolute http or https URLs, or `Target` objects. None if `options` has a `plugin`. Beat stores its
            entries, and brokers carry them: they hold the `meta` of a target as plainly as its URL.
        if_running: the fate of a tick while the run of an earlier tick goes on. `skip` starts no run, `queue` starts
            the run later, and `cancel_previous` cancels the earlier run.
        credentials: the name of an entry in `SCRAPE_DO_CREDENTIALS`, with headers, cookies or a body. Beat's entries
            must not hold such secrets.
        on_success: as in `enqueue`, for each run.
        on_failure: as in `enqueue`, for each run.
        **options: `RunOptions` and the fields of `JobCreationRequest`, as in `enqueue`.

    Returns:
        The entry, a dict with `task`, `schedule` and `kwargs`.

    Raises:
        ValueError: a field is wrong. The error is raised at the declaration, not at the first tick.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError("name must be a str that is not blank, because it identifies the schedule")
    if if_running not in get_args(IfRunning):
        hint = suggest_name(str(if_running), get_args(IfRunning))
        raise ValueError(f"if_running must be one of {', '.join(get_args(IfRunning))}: {show_key(if_running)}{hint}")
    if fault := why_no_name(name):
        raise ValueError(f"name {fault}")
    if credentials is not None and (fault := why_no_name(credentials)):
        raise ValueError(f"credentials {fault}")
    if secret := [field for field in _SECRET if options.get(field) or options.get(wire_name(field))]:
        raise ValueError(f'{", ".join(secret)}: beat stores a schedule in plain text; use credentials="..."')
    _warn_of_each_minute(name, schedule)
    # JSON values of the checked request: beat's JSON does not preserve every value that pydantic reads.
    spec = RunSpec.from_arguments(targets, _KEYWORDS, **options)
    checked = spec.request.model_dump(mode="json", exclude_none=True) | spec.given_inputs()
    given = {name: options.get(name) for name in RUN_OPTIONS} | {"credentials": credentials}
    request = checked | {name: value for name, value in given.items() if value is not None}
    kwargs = {"name": name, "rule": schedule_rule(schedule), "if_running": if_running, "request": request}
    if canvas := callback_canvas(on_success, on_failure):
        kwargs["canvas"] = canvas
    # A value that JSON cannot carry must raise here, and not when beat publishes the entry.
    return {"task": routing.SCHEDULED_RUN, "schedule": schedule, "kwargs": json.loads(dumps(kwargs))}  # type: ignore[no-untyped-call]


def _warn_of_each_minute(name: str, schedule: object) -> None:
    """Warn of a crontab that names its hours and not its minute: `crontab(hour=6)` makes 60 ticks, not one."""
    if not isinstance(schedule, crontab) or len(schedule.minute) < _MINUTES or len(schedule.hour) == _HOURS:
        return
    runs = len(schedule.minute) * len(schedule.hour)
    text = (
        f"schedule {name}: the crontab sets hour and not minute, so it may start {runs} runs on each of its days; set "
        f"minute=0 for {len(schedule.hour)}"
    )
    warnings.warn(text, UserWarning, stacklevel=caller_level())


def current_tick(app_context: AppContext, rule: dict[str, Any]) -> str:
    """Return the name of the tick of a schedule whose time it is now, in the time zone of the app."""
    return tick(rule, datetime.now(UTC), app_context.app.timezone)


def write_rule(app_context: AppContext, rule: dict[str, Any]) -> str:
    """Return a rule as the store keeps it: as JSON, with the time zone of the app if a crontab has none."""
    return canonical_json(with_zone(rule, app_context.app.timezone))


def name_tick(
    app_context: AppContext, kwargs: dict[str, Any], options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments and options of the message for a tick. A message that waits in a queue keeps its own tick.

    The message goes to the queue of the steps, and monitors see a summary of its request.
    """
    kwargs = dict(kwargs)
    kwargs.setdefault("tick", current_tick(app_context, kwargs["rule"]))
    shown = schedule_summary(kwargs, hosts=app_context.store.encryptor is None)
    options = {"queue": app_context.settings.queue, **options, "argsrepr": "()", "kwargsrepr": repr(shown)}
    return kwargs, options
