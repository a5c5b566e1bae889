"""Celery as in Flask's documentation: tasks run within the application's context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery, Task

if TYPE_CHECKING:
    from flask import Flask


def celery_init_app(app: Flask) -> Celery:
    """Create the Celery app of an application, and make it the default of this process."""

    class FlaskTask(Task):  # type: ignore[misc]
        """A task within the application's context."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run the task in the application's context."""
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app
