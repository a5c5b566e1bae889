"""The classes of the steps in Celery, and the registration of tasks that have the class of the app's own tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Task, _state
from celery.local import Proxy

from scrape_do_celery import routing

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery


class PinnedTask(Task):  # type: ignore[misc]
    """A task with options that a step cannot do without. The app's settings and annotations do not change them."""

    abstract = True
    # Not None, because None stands for `task_default_rate_limit`. A limit that is made for the app's own tasks would
    # hold back polls and fetches, while the API deletes the pages. `SCRAPE_DO_REQUEST_RATE` limits requests instead.
    rate_limit = 0
    # An expired delivery would be REVOKED, although its run succeeded.
    expires = None
    # A retry of a delivery would keep a caller from the error of its run. The dispatcher repeats lost steps.
    autoretry_for = ()
    # If a failed delivery were not acknowledged, the broker would deliver the failure again and again.
    acks_on_failure_or_timeout = acks_on_failure = acks_on_timeout = True
    # The messages of steps go to the queue of the settings.
    queue = exchange = exchange_type = routing_key = delivery_mode = None

    @classmethod
    def annotate(cls) -> None:
        """Apply the app's `task_annotations`, except to the pinned attributes."""
        kept = {name: getattr(cls, name) for name in routing.PINNED if hasattr(cls, name)}
        super().annotate()
        for name, value in kept.items():
            setattr(cls, name, value)


class StepTask(PinnedTask):
    """A task that works on parts, runs or accounts. Nothing of the app's task class applies to it."""

    abstract = True


def caller_task(base: type[PinnedTask] = PinnedTask, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Register a function in every app as `shared_task` does, with the class of the app's own tasks behind `base`.

    So a team's `apply_async` and `__call__`, and Django's `delay_on_commit`, work on the tasks that a team calls.
    """

    def register(function: Callable[..., Any]) -> Any:
        def add_to_app(app: Celery) -> Any:
            combined = type(base.__name__, (base, app.Task), {"abstract": True})
            return app.task(base=combined, shared=False, lazy=False, **options)(function)

        _state.connect_on_app_finalize(add_to_app)
        for app in _state._get_active_apps():  # noqa: SLF001 (as `shared_task` does)
            if app.finalized:
                add_to_app(app)
        return Proxy(lambda: _state.get_current_app().tasks[options["name"]])

    return register
