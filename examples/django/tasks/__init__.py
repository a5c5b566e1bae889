"""The project's own tasks; an app, so that Celery finds them."""
