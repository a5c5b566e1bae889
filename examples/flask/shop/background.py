"""Celery as Flask's documentation has it: tasks run within the application's context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery, Task

if TYPE_CHECKING:
    from flask import Flask


def celery_init_app(app: Flask) -> Celery:
    """The Celery app of an application, which is this process's from now on."""

    class FlaskTask(Task):  # type: ignore[misc]
        """A task within the application's context."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Runs it there."""
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app
