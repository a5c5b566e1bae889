"""Visit the page of budgets with Django's test client, over an in-memory store. Print what the pages say as JSON."""

from __future__ import annotations

import json
import sys

from django.test import Client
from django_admin_site import log_in, redis, store, submit, take_store_away

from scrape_do_celery import list_budgets
from scrape_do_celery.runs.spend import list_days

PAGE = "/admin/scrape_do/scraperun/budgets/"


def post(client, **fields):
    """Return the text of the page after `submit`."""
    return submit(client, PAGE, **fields).content.decode()


def budgets():
    return [(one.scope, one.period, one.limit) for one in list_budgets()]


def visit():
    """Yield the name of each observation, and the observation."""
    editor = log_in("editor", "view_scraperun", "change_scraperun")
    viewer, stranger = log_in("viewer", "view_scraperun"), log_in("stranger")
    yield "link", PAGE in editor.get("/admin/scrape_do/scraperun/").content.decode()
    yield "empty", "Nothing limits the credits" in editor.get(PAGE).content.decode()
    change = {"scope": "tag:shop:7", "action": "set", "period": "day", "limit": "5000"}
    yield "question", "Set the limit of tag:shop:7 for a day to 5,000 credits?" in post(editor, **change)
    yield "before the confirmation", budgets()
    yield "without a token", editor.post(PAGE, {**change, "confirmed": "1"}).status_code
    yield "by a viewer", viewer.get(PAGE).status_code, 'name="scope"' in viewer.get(PAGE).content.decode()
    yield "forced by a viewer", submit(viewer, PAGE, **change, confirmed="1").status_code
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

    take_store_away()
    page = editor.get(PAGE).content.decode()
    yield "away", 'class="error">The store at' in page, "Nothing limits" in page, "No costs" in page


sys.stdout.write(json.dumps({name: list(seen) if len(seen) > 1 else seen[0] for name, *seen in visit()}))
