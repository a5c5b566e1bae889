"""The check of settings of Django by which it would refuse deliveries before the view gets them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.http.request import split_domain_port, validate_host
from django.urls import Resolver404, resolve

from scrape_do_celery.contrib.django import conf
from scrape_do_celery.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.config import Settings

#: The hosts that Django serves in development without ALLOWED_HOSTS.
_OF_DEVELOPMENT = (".localhost", "127.0.0.1", "[::1]")


def check_webhooks(**_: Any) -> list[checks.CheckMessage]:
    """Return warnings if this project receives webhooks, and Django answers them with 400, 503 or a redirect."""
    try:
        settings = conf.read_settings()
    except ConfigurationError:
        return []  # `check_settings` reports the fault
    base_url = settings.webhook_base_url
    if base_url is None or not _is_received_here(urlsplit(base_url).path):
        return []
    return [*_find_missing_keys(settings), *_find_obstacles(base_url)]


def _is_received_here(path: str) -> bool:
    from scrape_do_celery.contrib.django import webhooks

    try:
        return resolve(f"{path}/x").func in {webhooks.receive_webhook, webhooks.areceive_webhook}
    except (Resolver404, ImproperlyConfigured):
        # Behind a proxy that changes paths, nobody knows.
        return False


def _find_missing_keys(settings: Settings) -> Iterator[checks.CheckMessage]:
    if settings.webhook_keys is None:
        yield checks.Warning(
            "Django answers webhooks with 503: WEBHOOK_KEYS is not set",
            hint="Set it to the keys of the workers.",
            id="scrape_do.W004",
        )


def _find_obstacles(base_url: str) -> Iterator[checks.CheckMessage]:
    parts = urlsplit(base_url)
    allowed = django_settings.ALLOWED_HOSTS or (_OF_DEVELOPMENT if django_settings.DEBUG else ())
    if not validate_host(split_domain_port(parts.netloc)[0], allowed):
        yield checks.Warning(
            f"Django answers webhooks with 400: ALLOWED_HOSTS lacks the host {parts.hostname} of WEBHOOK_BASE_URL",
            hint="Add the host, unless a proxy sends another host to this project.",
            id="scrape_do.W002",
        )
    exempt = any(re.search(one, parts.path.lstrip("/") + "/x") for one in django_settings.SECURE_REDIRECT_EXEMPT)
    if parts.scheme == "http" and django_settings.SECURE_SSL_REDIRECT and not exempt:
        yield checks.Warning(
            "Django redirects webhooks to https: WEBHOOK_BASE_URL is http, and SECURE_SSL_REDIRECT is True",
            hint="Set WEBHOOK_BASE_URL to the https URL of the project.",
            id="scrape_do.W003",
        )
