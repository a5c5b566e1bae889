"""The URLs of webhooks: `path("hooks/", include("scrape_do_celery.contrib.django.webhook_urls"))`.

The view also works under ASGI, where Django calls it in a thread.
"""

from __future__ import annotations

from django.urls import re_path

from scrape_do_celery.contrib.django.webhooks import receive_webhook

app_name = "scrape_do_webhooks"
# Take each path, with and without a slash at its end: a redirect, 404 or 410 would end the webhook.
urlpatterns = [re_path("", receive_webhook, name="receive")]
