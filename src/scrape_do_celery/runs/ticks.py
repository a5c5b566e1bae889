"""Make the run of a tick, or of a command that starts a schedule's run beside its ticks."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery import tracing
from scrape_do_celery.config.secrets import with_credentials
from scrape_do_celery.models.sendable import SAID, why_no_name
from scrape_do_celery.runs.canvas import delivery_signature
from scrape_do_celery.runs.new_runs import publish_submit
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.commands.creation import CreateResult, CreateRun
from scrape_do_celery.store.option_checks import is_label
from scrape_do_celery.store.options import RUN_OPTIONS
from scrape_do_celery.store.run_settings import apply_settings

if TYPE_CHECKING:
    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.store.commands.creation import Created, ScheduleTick

#: Seconds until the dispatcher checks whether the run before a queued run has ended, in case its end was missed.
_CHECK_DELAY: Final = 60.0


def read_tick_spec(app_context: AppContext, name: str, request: dict[str, Any]) -> RunSpec:
    """Return the spec of a schedule's request, with its credentials. The schedule's name is its label if none is given.

    Raises:
        ValueError: the request is wrong, or its credentials are unknown here.
        ConfigurationError: this process lacks a package for the export.
    """
    options = dict(request)
    fields = with_credentials(app_context.settings.credentials, options.pop("credentials", None), options)
    run = {option: fields.pop(option) for option in RUN_OPTIONS if option in fields}
    if is_label(name):
        run.setdefault("label", name)
    # A warning has no reader here. The declaration of the schedule has given the warning.
    spec = RunSpec.from_fields(fields, run, SAID)
    spec.check_export(is_scheduled=True)
    return apply_settings(spec, app_context.settings)


def create_tick_run(
    app_context: AppContext, tick: ScheduleTick, spec: RunSpec, canvas: dict[str, Any] | None = None
) -> Created:
    """Decide a tick, unless it is decided. If the decision is a run that starts at once, publish its submit steps.

    A second call for the same tick changes nothing, also after a crash of the first call.

    Raises:
        ValueError: a name is wrong. Nothing was written.
    """
    for field, name in {"name": tick.name, "tick": tick.tick}.items():
        if fault := why_no_name(name):
            raise ValueError(f"{field} {fault}")
    run_id = str(uuid.uuid4())
    delivery = delivery_signature(app_context, run_id, run_id, canvas) if canvas else ""
    command = CreateRun(run_id, spec, signature=delivery, start_delay=_CHECK_DELAY, trace=tracing.current(), tick=tick)
    made = app_context.store.run(command)
    if made.result == CreateResult.CREATED:
        publish_submit(app_context, made.run_id, len(spec.parts()))
    return made
