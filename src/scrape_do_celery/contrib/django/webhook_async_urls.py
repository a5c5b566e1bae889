"""The URLs of webhooks under ASGI: `path("hooks/", include("scrape_do_celery.contrib.django.webhook_async_urls"))`."""

from __future__ import annotations

from django.urls import re_path

from scrape_do_celery.contrib.django.webhooks import areceive_webhook

app_name = "scrape_do_webhooks"
# As in `webhook_urls`.
urlpatterns = [re_path("", areceive_webhook, name="receive")]
