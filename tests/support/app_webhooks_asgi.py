"""The receiver alone, with little time for a body."""

from __future__ import annotations

from scrape_do_celery.webhooks.asgi import WebhookApp

app = WebhookApp(body_seconds=1.0)
