"""Set Django up with the admin of scrapes, over an in-memory store, in a process that visits the admin's pages.

The arguments of the process are further apps to install.
"""

from __future__ import annotations

import re
import sys

import django
import fakeredis
from django.conf import settings

settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        *(f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "messages", "sessions")),
        *sys.argv[1:],
        "scrape_do_celery.contrib.django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    SCRAPE_DO={"MIRROR": True, "ACCOUNT": "shop", "REDIS_URL": "redis://localhost:1/0", "KEY_PREFIX": "p"},
    STATIC_URL="static/",
)
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth.models import Permission, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402
from redis.exceptions import ConnectionError as RedisConnectionError  # noqa: E402

from scrape_do_celery.store import Keys, Store  # noqa: E402

urlpatterns = [path("admin/", admin.site.urls)]
redis = fakeredis.FakeRedis()
store = Store(redis, Keys("p"))
Store.open = lambda *_, **__: store  # type: ignore[method-assign]
call_command("migrate", verbosity=0)


def log_in(name, *permissions):
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


def submit(client, page, **fields):
    """Post a form with the token of the page, and follow to the page after it. Return the answer."""
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(page).content.decode())
    return client.post(page, {**fields, "csrfmiddlewaretoken": token[1] if token else ""}, follow=True)


def take_store_away():
    """Let each later command of the store fail."""

    def fail(*_):
        raise RedisConnectionError("away")

    redis.execute_command = fail
