"""What the steps of one worker process share."""

from __future__ import annotations

from scrape_do_celery.runtime.process import Runtime
from scrape_do_celery.runtime.steps import serve

__all__ = ["Runtime", "serve"]
