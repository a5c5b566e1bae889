"""A Django project that receives webhooks below `/hooks/`: `application` for WSGI, `asgi_application` for ASGI."""

from __future__ import annotations

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY=os.urandom(32).hex(),
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import include, path  # noqa: E402

_IS_ASYNC = os.environ.get("BENCHMARK_FACE") == "django async"
_URLS = "webhook_async_urls" if _IS_ASYNC else "webhook_urls"
urlpatterns = [path("hooks/", include(f"scrape_do_celery.contrib.django.{_URLS}"))]
application = get_wsgi_application()
asgi_application = get_asgi_application()
