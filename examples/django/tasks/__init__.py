"""The project's own tasks, in an app so that Celery finds them."""
