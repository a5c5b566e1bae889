"""Visit pages of the admin with Django's test client, over an in-memory store. Print what the pages say as JSON."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from datetime import UTC, datetime

from django.test import Client
from django.utils import timezone
from django_admin_site import log_in, redis, store, submit, take_store_away

from scrape_do_celery import JobDetails, Target, TaskDetails, list_budgets
from scrape_do_celery.contrib.django.models import ScrapeRun
from scrape_do_celery.models import UndetailedTaskResponse
from scrape_do_celery.runs.spend import list_days
from scrape_do_celery.store import PartId, PartState, RunSpec
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import RecordOutcome

RUNS = "/admin/scrape_do/scraperun/"
PAGE = f"{RUNS}budgets/"


def post(client, **fields):
    """Return the text of the page after `submit`."""
    return submit(client, PAGE, **fields).content.decode()


def budgets():
    return [(one.scope, one.period, one.limit) for one in list_budgets()]


def make_run():
    """Write a run with a page to the store, and rows of it and of an expired run to the mirror."""
    store.run(CreateRun("r", RunSpec.from_arguments([Target("https://a.example/", {"sku": 1})])))
    claim = store.run(ClaimPart(PartId("r", 0), "token", seconds=30, states=["queued"]))
    url = "https://a.example/"
    summary = [UndetailedTaskResponse(task_id="t", url=url, status="success")]
    store.run(UpdatePart(claim, {}, job=JobDetails(job_id="j", status="success", task_ids=["t"], tasks=summary)))
    store.run(
        StoreContent(PartId("r", 0), 0, TaskDetails(task_id="t", job_id="j", url=url, status="success", content="=1"))
    )
    for run_id in ("r", "absent"):
        ScrapeRun.objects.create(run_id=run_id, state="running", created=timezone.now())


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
    make_run()
    table = {"action": "download_table", "_selected_action": ["r", "absent"]}
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', viewer.get(RUNS).content.decode())
    answer = viewer.post(RUNS, {**table, "csrfmiddlewaretoken": token[1]})
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    yield "table", [[row["run_id"], row["url"], row["error_message"][:17]] for row in rows], "content" in rows[0]
    answer = viewer.get(f"{RUNS}r/pages/")
    lines = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]
    yield "pages", [[line["run_id"], line["url"], line["content"], line["meta"]] for line in lines]
    yield "pages by a stranger", stranger.get(f"{RUNS}r/pages/").status_code

    yield from visit_list(viewer)
    take_store_away()
    page = editor.get(PAGE).content.decode()
    yield "lineage away", viewer.get("/admin/scrape_do/scraperun/first/change/").status_code
    yield "away", 'class="error">The store at' in page, "Nothing limits" in page, "No costs" in page


sys.stdout.write(json.dumps({name: list(seen) if len(seen) > 1 else seen[0] for name, *seen in visit()}))
