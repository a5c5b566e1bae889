"""Ask for the pages of django-health-check that the guide adds, with real servers as the store. Print all as JSON.

The arguments of the process are a folder for the servers, and the file with the `urlpatterns` of the guide.
"""

from __future__ import annotations

import asyncio
import json
import logging
import runpy
import sys
from contextlib import ExitStack
from datetime import timedelta
from io import StringIO
from pathlib import Path

import django
from django.conf import settings
from redis_servers import RedisServer, wait_until

SECRET = "a-secret-of-the-user"
folder = Path(sys.argv[1])
servers = ExitStack()
server = servers.enter_context(RedisServer(folder / "store"))
server.open_client().execute_command("ACL", "SETUSER", "shop", "on", f">{SECRET}", "~*", "&*", "+@all")
URL = f"redis://shop:{SECRET}@127.0.0.1:{server.port}/0"
settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["health_check", "scrape_do_celery.contrib.django"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    SCRAPE_DO={"ACCOUNT": "shop", "REDIS_URL": URL, "BROKER_URL": "memory://", "RESULT_BACKEND": "cache+memory://"},
)
django.setup()

from django.test import Client, RequestFactory  # noqa: E402
from django.test.utils import override_settings  # noqa: E402
from health_check.views import HealthCheckView  # noqa: E402

from scrape_do_celery.contrib.django import health  # noqa: E402
from scrape_do_celery.runs import AppContext  # noqa: E402
from scrape_do_celery.store.commands.limits import OpenBreaker  # noqa: E402
from scrape_do_celery.worker.dispatcher import Dispatcher  # noqa: E402

urlpatterns = runpy.run_path(sys.argv[2])["urlpatterns"]
HASTE = {"timeout": timedelta(seconds=0.25)}
CHECKS = (health.ScrapeDoStore, health.ScrapeDoWorker, health.ScrapeDoAccount)
HASTY = HealthCheckView.as_view(checks=[(check, HASTE) for check in CHECKS])
log = StringIO()
logging.basicConfig(stream=log, level=logging.INFO, force=True)


def ask(page):
    """Return the status of a page, and what it says of each check."""
    answer = Client().get(page, {"format": "json"})
    return answer.status_code, answer.json()


def ask_hastily():
    """Return the status of a page with all checks, which have a quarter of a second, and the answers."""
    answer = asyncio.run(HASTY(RequestFactory().get("/", {"format": "json"})))
    return answer.status_code, json.loads(answer.content)


def ask_all():
    """Return the status of both pages of the guide, and their answers as one."""
    (store, of_store), (work, of_work) = ask("/health/"), ask("/health/scrapes/")
    return [store, work, of_store | of_work]


def visit():
    """Yield the name of each observation, and the observation."""
    with override_settings(SCRAPE_DO={"REDIS_URL": URL.replace("redis:", "http:")}):
        yield "wrong settings", ask_hastily()
    app_context, admin = AppContext.for_app(), server.open_client()
    yield "just started", ask_all()
    # Without INFO, nobody knows how long the server has been up, and a missing worker is told at once.
    admin.execute_command("ACL", "SETUSER", "shop", "-info")
    yield "no worker", ask_all()
    Dispatcher(app_context).dispatch_due()
    yield "healthy", ask_all()
    yield "keys", sorted(key.decode() for key in admin.keys("*rights*"))
    yield "page", "ScrapeDoWorker" in Client().get("/health/scrapes/", headers={"accept": "text/html"}).content.decode()
    app_context.store.run(OpenBreaker(app_context.settings.account_id, "", 900.0))
    yield "refused", ask_all()
    admin.flushall()
    Dispatcher(app_context).dispatch_due()
    admin.execute_command("ACL", "SETUSER", "shop", "+info")
    used = int(admin.info("memory")["used_memory"])
    admin.config_set("maxmemory", used * 10 // 9)
    yield "nearly full", ask_all()
    admin.config_set("maxmemory", used // 2)
    yield "full", ask_all()
    admin.config_set("maxmemory", 0)
    primary = servers.enter_context(RedisServer(folder / "primary"))
    there = app_context.settings.model_copy(update={"redis_url": primary.url})
    Dispatcher(AppContext(app_context.app, there)).dispatch_due()
    server.follow(primary)
    yield "replica", ask_all()
    server.promote()
    wait_until(lambda: server.role == "master")
    admin.execute_command("ACL", "SETUSER", "shop", "-evalsha", "-eval")
    yield "no right", ask_all()
    admin.execute_command("ACL", "SETUSER", "shop", "+evalsha", "+eval")
    server.pause()
    yield "silent", ask_hastily()
    server.kill()
    yield "down", ask_hastily()


with servers:
    seen = dict(visit())
seen["log"] = [SECRET in log.getvalue(), "Health check" in log.getvalue()]
seen["leaks"] = SECRET in json.dumps(seen)
sys.stdout.write(json.dumps(seen))
