"""Visit pages of the admin with Django's test client, over an in-memory store. Print what the pages say as JSON."""

from __future__ import annotations

import json
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
from django.utils import timezone  # noqa: E402
from redis.exceptions import ConnectionError as RedisConnectionError  # noqa: E402

from scrape_do_celery import list_budgets  # noqa: E402
from scrape_do_celery.contrib.django.models import ScrapeRun  # noqa: E402
from scrape_do_celery.runs.spend import list_days  # noqa: E402
from scrape_do_celery.store import Keys, Store  # noqa: E402

urlpatterns = [path("admin/", admin.site.urls)]
PAGE = "/admin/scrape_do/scraperun/budgets/"
redis = fakeredis.FakeRedis()
store = Store(redis, Keys("p"))
Store.open = lambda *_, **__: store  # type: ignore[method-assign]


def log_in(name, *permissions):
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


def submit(client, **fields):
    """Post the form with the token of the page, and follow to the page after it. Return the answer."""
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(PAGE).content.decode())
    return client.post(PAGE, {**fields, "csrfmiddlewaretoken": token[1]}, follow=True)


def post(client, **fields):
    """Return the text of the page after `submit`."""
    return submit(client, **fields).content.decode()


def budgets():
    return [(one.scope, one.period, one.limit) for one in list_budgets()]


def visit_list(client):
    """Yield what the list of runs shows by label and by tag."""
    names = {
        "a1": ("prices", ["shop:7"]),
        "b2": ("prices", ["shop:7", "e\u00fc"]),
        "c3": ("", ["Shop:7"]),
        "d4": ("", None),
    }
    for run_id, (label, tags) in names.items():
        ScrapeRun.objects.create(
            run_id=run_id, state="succeeded", label=label, tags=tags, hosts="shop.example", created=timezone.now()
        )
    filters = {"all": {}, "label": {"label": "prices"}, "tag": {"tag": "shop:7"}, "other tag": {"tag": "e\u00fc"}}
    filters |= {"both": {"label": "prices", "tag": "e\u00fc"}, "none": {"tag": "7"}, "search": {"q": "prices"}}
    for name, query in filters.items():
        text = client.get("/admin/scrape_do/scraperun/", query).content.decode()
        yield f"list {name}", [run_id for run_id in names if f">{run_id}</a>" in text]
        if name == "all":
            yield (
                "offered",
                [f"?{end}" in text for end in ("label=prices", "tag=shop%3A7", "tag=Shop%3A7", "label=None")],
            )
    text = client.get("/admin/scrape_do/scraperun/b2/change/").content.decode()
    yield "shown of a run", "shop:7, e\u00fc" in text, "shop.example" in text


def visit():
    """Yield the name of each observation, and the observation."""
    call_command("migrate", verbosity=0)
    editor = log_in("editor", "view_scraperun", "change_scraperun")
    viewer, stranger = log_in("viewer", "view_scraperun"), log_in("stranger")
    yield "link", PAGE in editor.get("/admin/scrape_do/scraperun/").content.decode()
    yield "empty", "Nothing limits the credits" in editor.get(PAGE).content.decode()
    change = {"scope": "tag:shop:7", "action": "set", "period": "day", "limit": "5000"}
    yield "question", "Set the limit of tag:shop:7 for a day to 5,000 credits?" in post(editor, **change)
    yield "before the confirmation", budgets()
    yield "without a token", editor.post(PAGE, {**change, "confirmed": "1"}).status_code
    yield "by a viewer", viewer.get(PAGE).status_code, 'name="scope"' in viewer.get(PAGE).content.decode()
    yield "forced by a viewer", submit(viewer, **change, confirmed="1").status_code
    yield "by a stranger", stranger.get(PAGE).status_code, stranger.get(PAGE + "spend.csv").status_code
    yield "by nobody", Client().get(PAGE).status_code, Client().get(PAGE + "spend.csv").status_code
    yield "after the refusals", budgets()
    yield "done", "credits: done" in post(editor, **change, confirmed="1")
    yield "again", "nothing has changed" in post(editor, **change, confirmed="1")
    post(editor, scope="account", action="stop", confirmed="1")
    yield "after the changes", budgets()
    shown = post(editor, scope="account", action="resume", confirmed="1")
    yield "shown", "tag:shop:7" in shown, "5000" in shown, "Go on with the purchases of account: done" in shown
    post(editor, **{**change, "limit": ""}, confirmed="1")
    yield "at the end", budgets()
    for wrong in ({"scope": "shop:7"}, {"limit": "-1"}, {"period": ""}, {"period": "week"}, {"limit": "nan"}):
        yield f"wrong {wrong}", "errorlist" in post(editor, **{**change, **wrong}, confirmed="1")
    yield "after wrong fields", budgets()
    day = list_days(store, 1)[-1]
    redis.hset(store.keys.host_spend(day), "a<b>.example", 2500)
    yield "costs", "a&lt;b&gt;.example" in editor.get(PAGE).content.decode()
    answer = viewer.get(PAGE + "spend.csv")
    yield (
        "file",
        answer.headers["Content-Disposition"],
        "host,a<b>.example,2.5,0.0,0.0" in b"".join(answer.streaming_content).decode(),
    )

    yield from visit_list(viewer)

    def fail(*_):
        raise RedisConnectionError("away")

    redis.execute_command = fail
    page = editor.get(PAGE).content.decode()
    yield "away", 'class="error">The store at' in page, "Nothing limits" in page, "No costs" in page


sys.stdout.write(json.dumps({name: list(seen) if len(seen) > 1 else seen[0] for name, *seen in visit()}))
