"""Visit the page of schedules with Django's test client, over an in-memory store. Print what the pages say as JSON."""

from __future__ import annotations

import json
import re
import sys

from celery import Celery
from celery.schedules import crontab
from django.db import connection
from django.test import Client
from django_admin_site import log_in, redis, submit, take_store_away
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from scrape_do_celery import list_schedules, scheduled_run

PAGE = "/admin/scrape_do/scraperun/schedules/"
URLS = ["https://shop.example/"]
app = Celery("shop", broker="memory://", backend="cache+memory://")
app.conf.beat_schedule = {"a": scheduled_run("a <b>", crontab(minute=0), URLS)}
app.set_current()


def post(client, **fields):
    """Return the text of the page after the form."""
    return submit(client, PAGE, **fields).content.decode()


def store_entry(name, *, enabled=True, kwargs=None):
    """Put a schedule into the table of django-celery-beat."""
    interval, _ = IntervalSchedule.objects.get_or_create(every=5, period="minutes")
    entry = scheduled_run(name, 300, URLS)
    text = json.dumps(entry["kwargs"]) if kwargs is None else kwargs
    PeriodicTask.objects.create(name=name, task=entry["task"], interval=interval, kwargs=text, enabled=enabled)


def schedules():
    return [(one.name, one.rule, one.next_tick is not None, one.is_paused) for one in list_schedules()]


def find_run(page):
    """Return the id of the run that a page names."""
    found = re.search(r"Run ([0-9a-f-]{36}) of a &lt;b&gt; was made", page)
    return found and found[1]


def visit():
    """Yield the name of each observation, and the observation."""
    editor = log_in("editor", "view_scraperun", "change_scraperun")
    viewer, stranger = log_in("viewer", "view_scraperun"), log_in("stranger")
    yield "link", PAGE in editor.get("/admin/scrape_do/scraperun/").content.decode()
    page = editor.get(PAGE).content.decode()
    yield "declared", "a &lt;b&gt;" in page, "0 * * * *" in page, 'value="pause"' in page, 'value="run"' in page
    change = {"name": "a <b>", "action": "pause"}
    page = post(editor, **change)
    yield "question", "Pause the schedule a &lt;b&gt;?" in page, 'name="note"' in page
    yield "without a token", editor.post(PAGE, {**change, "confirmed": "1"}).status_code
    yield "by a viewer", viewer.get(PAGE).status_code, 'value="pause"' in viewer.get(PAGE).content.decode()
    yield "forced by a viewer", submit(log_in("v2", "view_scraperun"), PAGE, **change, confirmed="1").status_code
    yield "by a stranger", stranger.get(PAGE).status_code
    yield "by nobody", Client().get(PAGE).status_code
    yield "by GET", editor.get(PAGE, {**change, "confirmed": "1"}).status_code
    yield "after the refusals", schedules()

    page = post(editor, **change, note="no <stock>", confirmed="1")
    yield "paused", "&lt;b&gt; is paused." in page, "editor no &lt;stock&gt;" in page, 'value="resume"' in page
    yield "paused again", "was paused before" in post(editor, **change, confirmed="1")
    yield "after the pause", schedules()
    yield "resumed", "&lt;b&gt; goes on." in post(editor, name="a <b>", action="resume", confirmed="1")
    yield "resumed again", "was not paused" in post(editor, name="a <b>", action="resume", confirmed="1")

    page = post(editor, name="a <b>", action="run")
    key = re.search(r'name="key" value="([0-9a-f-]{36})"', page)[1]
    started = {"name": "a <b>", "action": "run", "key": key, "confirmed": "1"}
    runs = [find_run(post(editor, **started)) for _ in range(2)]
    yield "run", runs[0] is not None, runs[0] == runs[1], len(redis.keys("p:run:*"))
    pages = [post(editor, **{**started, "key": "other"}) for _ in range(2)]
    yield "skipped", f"starts no run: run {runs[0]} goes on" in pages[0], "this form was sent before" in pages[1]
    for wrong in ({"name": ""}, {"name": "zzz"}, {"action": "delete"}, {"name": "x" * 1001}):
        page = post(editor, **{**change, **wrong}, confirmed="1")
        yield f"wrong {str(wrong)[:20]}", "errorlist" in page or 'class="error"' in page

    store_entry("stored")
    store_entry("disabled", enabled=False)
    store_entry("edited", kwargs="{")
    yield "stored", schedules()
    page = post(editor, name="stored", action="run", confirmed="1")
    yield "run of the table", "of stored was made" in page
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_celery_beat_periodictask RENAME TO gone")
    yield "without the table", [name for name, *_ in schedules()]
    take_store_away()
    page = editor.get(PAGE).content.decode()
    yield "away", 'class="error">The store at' in page, "No schedule has ticked" in page


sys.stdout.write(json.dumps({name: list(seen) if len(seen) > 1 else seen[0] for name, *seen in visit()}))
