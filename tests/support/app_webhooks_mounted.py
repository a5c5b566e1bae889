"""A FastAPI application with the receiver below a path."""

from __future__ import annotations

from fastapi import FastAPI

from scrape_do_celery.webhooks.asgi import WebhookApp

app = FastAPI()
app.mount("/hooks", WebhookApp(body_seconds=1.0))
