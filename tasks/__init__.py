"""The application's own Celery tasks."""

from __future__ import annotations

from tasks.titles import save_titles

__all__ = ["save_titles"]
