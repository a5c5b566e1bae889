"""A Django project that receives webhooks, with what stands in the way of calls: login, HTTPS, hosts, transactions."""

from __future__ import annotations

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["shop.example"],
    APPEND_SLASH=True,
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=[
        *("django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"),
        "scrape_do_celery.contrib.django",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ],
    SECURE_SSL_REDIRECT=True,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    # No such server: a view that opens a transaction fails.
    DATABASES={
        name: {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere/db", "ATOMIC_REQUESTS": True}
        for name in ("default", "other")
    },
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import include, path  # noqa: E402

KIND = os.environ.get("WEBHOOK_URLS", "webhook_urls")
urlpatterns = [
    path("hooks/", include(f"scrape_do_celery.contrib.django.{KIND}")),
    path("ahooks/", include("scrape_do_celery.contrib.django.webhook_async_urls", namespace="ahooks")),
    path("private/", lambda _: HttpResponse("of a user")),
]
application = get_wsgi_application()
asgi_application = get_asgi_application()
