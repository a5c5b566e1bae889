"""The JSON that commands about schedules print with `--json`: see `cli/shapes.py`."""

from __future__ import annotations

from pydantic import Field

from scrape_do_celery.cli.json_output import Shape


class PauseShape(Shape):
    """The pause of a schedule."""

    at: str = Field(description="since when")
    by: str | None = Field(description="who paused it")
    note: str | None = Field(description="why")


class ScheduleShape(Shape):
    """A schedule, as the store and the app know it."""

    name: str = Field(description="its name")
    rule: str | None = Field(description="the rule of its ticks; null if only a pause is known")
    if_running: str | None = Field(description="the fate of a tick while an earlier run goes on")
    is_declared: bool = Field(description="whether the app has an entry with this name")
    next_tick: str | None = Field(description="the next tick by the rule")
    last_tick: str | None = Field(description="the last tick that was decided")
    last_decision: str | None = Field(description="the decision about it")
    decided_at: str | None = Field(description="when it was decided")
    last_run: str | None = Field(description="the id of the last run")
    live_run: str | None = Field(description="the id of the last run that has not ended")
    pause: PauseShape | None = Field(description="the pause; null if it is not paused")


class SchedulesShape(Shape):
    """All schedules."""

    schedules: list[ScheduleShape] = Field(description="the schedules, sorted by name")


class ScheduleChangeShape(Shape):
    """A pause or its end."""

    name: str = Field(description="the schedule")
    paused: bool = Field(description="whether it is paused now")
    changed: bool = Field(description="whether the command has changed this")


class ScheduleStartShape(Shape):
    """A run that was started beside the ticks of its schedule."""

    run_id: str = Field(description="the id of the run")
    decision: str = Field(description="`started`, or `queued` behind an earlier run")
