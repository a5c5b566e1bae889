"""Visit pages of Django's admin with its test client, over an in-memory store. Print what the pages say as JSON."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime

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
from redis.exceptions import ConnectionError as RedisConnectionError  # noqa: E402

from scrape_do_celery import list_budgets  # noqa: E402
from scrape_do_celery.contrib.django.models import ScrapeRun  # noqa: E402
from scrape_do_celery.runs.spend import list_days  # noqa: E402
from scrape_do_celery.store import Keys, PartId, PartState, RunSpec, Store  # noqa: E402
from scrape_do_celery.store.commands.creation import CreateRun  # noqa: E402
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart  # noqa: E402
from scrape_do_celery.store.commands.runs import RecordOutcome  # noqa: E402

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


def make_lineage():
    """Make a run with a child, and the row of the run."""
    spec = RunSpec.from_arguments(["https://shop.example/"])
    store.run(CreateRun("first", spec))
    claim = store.run(ClaimPart(PartId("first", 0), "token", seconds=60, states=PartState, isolated=True))
    store.run(FinishPart(claim, "failed"))
    store.run(RecordOutcome("first", "failed", {}))
    assert store.run(CreateRun("child", spec, parent="first")).new
    now = datetime.now(UTC)
    ScrapeRun.objects.create(run_id="first", state="failed", created=now, updated=now, ended=now, total=1)


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
    make_lineage()
    links = [f'<a href="/admin/scrape_do/scraperun/{run_id}/change/">{run_id}</a>' for run_id in ("first", "child")]
    yield "lineage", ", ".join(links) in viewer.get("/admin/scrape_do/scraperun/first/change/").content.decode()
    yield "costs", "a&lt;b&gt;.example" in editor.get(PAGE).content.decode()
    answer = viewer.get(PAGE + "spend.csv")
    yield (
        "file",
        answer.headers["Content-Disposition"],
        "host,a<b>.example,2.5,0.0,0.0" in b"".join(answer.streaming_content).decode(),
    )

    def fail(*_):
        raise RedisConnectionError("away")

    redis.execute_command = fail
    page = editor.get(PAGE).content.decode()
    yield "lineage away", viewer.get("/admin/scrape_do/scraperun/first/change/").status_code
    yield "away", 'class="error">The store at' in page, "Nothing limits" in page, "No costs" in page


sys.stdout.write(json.dumps({name: list(seen) if len(seen) > 1 else seen[0] for name, *seen in visit()}))
