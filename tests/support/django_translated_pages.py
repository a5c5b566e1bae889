"""Visit the admin's pages in a made-up language whose texts all have marks, and in German. Print what is seen as JSON.

The argument of the process is a folder for the catalog of the made-up language. It has the texts of Django and of this
package, each between marks. Words without marks are data, or texts that nobody can translate.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

folder = Path(sys.argv.pop(1))

import django  # noqa: E402
from babel.messages import Catalog  # noqa: E402
from babel.messages.mofile import write_mo  # noqa: E402
from babel.messages.pofile import read_po  # noqa: E402
from catalogs import path_of  # noqa: E402
from celery import Celery  # noqa: E402
from celery.schedules import crontab  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test.utils import override_settings  # noqa: E402
from django.utils.translation import override  # noqa: E402
from django_admin_site import log_in, redis, store  # noqa: E402

from scrape_do_celery import scheduled_run  # noqa: E402
from scrape_do_celery.contrib.django.models import ScrapeRun  # noqa: E402
from scrape_do_celery.runs.spend import list_days, name_day  # noqa: E402
from scrape_do_celery.store import PartId, PartState, RunSpec  # noqa: E402
from scrape_do_celery.store.commands.creation import CreateRun  # noqa: E402
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart  # noqa: E402
from scrape_do_celery.store.commands.runs import RecordOutcome  # noqa: E402

#: A language that Django knows, so that its middleware takes it; Django writes its dates without words.
MADE_UP = "af"
LIST = "/admin/scrape_do/scraperun/"
LIVE, FAILED = ["live1", "live2", "live3"], ["bad1", "bad2", "bad3"]
ATTRIBUTES = {"alt", "aria-label", "placeholder", "title"}
REASON = "the API no longer has the task"
#: What pages show in the words of the store, of the API and of users, the longest first.
DATA = (
    *("no worker has served the store for 30 s or more; start a worker, or check that it uses this store", REASON),
    *(
        "JobFailedError",
        "scrape_do.R",
        "tag:shop:7",
        "shop.example",
        "editor",
        "EDITOR",
        "prices",
        "shop:7",
        "every night",
    ),
    *("queued", "failed", "live", "bad", "account", "skip", "shop", "UTC", "now and then", "Scrape.do"),
    # Django itself has no translation of this text of an image.
    "Search",
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
app = Celery("shop", broker="memory://", backend="cache+memory://")
app.conf.beat_schedule = {"a": scheduled_run("every night", crontab(minute=0), ["https://shop.example/"])}
app.set_current()


def mark(text):
    """Return a text between marks. Django splits some texts at their commas."""
    return (
        ",".join(f"\u27e6{one}\u27e7" for one in text.split(",")) if text == "yes,no,maybe" else f"\u27e6{text}\u27e7"
    )


def write_made_up_language():
    """Write the catalog of the made-up language."""
    found = Catalog(locale=MADE_UP)
    catalogs = [path_of("en"), *Path(django.__file__).parent.glob("**/locale/en/LC_MESSAGES/django.po")]
    for path in catalogs:
        with path.open("rb") as file:
            for one in read_po(file, locale=MADE_UP):
                if one.id:
                    text = tuple(map(mark, one.id)) if isinstance(one.id, tuple) else mark(one.id)
                    found.add(one.id, text, context=one.context)
    path = folder / MADE_UP / "LC_MESSAGES" / "django.mo"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        write_mo(file, found)


class Reader(HTMLParser):
    """The texts of a page that people see, and those of attributes."""

    def __init__(self):
        super().__init__()
        self.texts, self._hidden = [], 0

    def handle_starttag(self, tag, attributes):
        self._hidden += tag in {"script", "style"}
        values = dict(attributes)
        shown = ATTRIBUTES | ({"value"} if values.get("type") in {"button", "reset", "submit"} else set())
        self.texts += [value for name, value in attributes if name in shown and value]

    def handle_endtag(self, tag):
        self._hidden -= tag in {"script", "style"}

    def handle_data(self, data):
        if not self._hidden:
            self.texts.append(data)


def read_texts(page):
    """Return the texts of a page."""
    reader = Reader()
    reader.feed(page)
    return _UUID.sub("", "\n".join(reader.texts))


def find_untranslated(text):
    """Return the words of a text that are neither between marks nor data."""
    while (rest := re.sub("\u27e6[^\u27e6\u27e7]*\u27e7", "", text)) != text:
        text = rest
    for one in DATA:
        text = text.replace(one, "")
    return sorted(set(re.findall(r"[^\W\d_]{2,}", text)))


def find_unseen(texts):
    """Return the texts of this package that no page has shown."""
    with path_of("en").open("rb") as file:
        own = [one for message in read_po(file) if message.id for one in _forms(message.id)]
    return [one for one in own if not re.search(_pattern(mark(one)), texts)]


def _forms(message):
    return message if isinstance(message, tuple) else [message]


def _pattern(text):
    """Return a pattern of a text with any values. Django begins the names of fields with a capital."""
    return re.sub(r"%\\\(\w+\\\)[ds]", ".*", re.escape(text))


class Visitor:
    """A user of the admin in one language."""

    def __init__(self, client, language):
        self.client, self.language = client, language

    def get(self, page, **query):
        return self.client.get(page, query, headers={"accept-language": self.language}).content.decode()

    def post(self, page, **fields):
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(page))
        data = {**fields, "csrfmiddlewaretoken": token[1] if token else ""}
        answer = self.client.post(page, data, follow=True, headers={"accept-language": self.language})
        return answer.content.decode()


def make_runs():
    """Write live and failed runs to the store, and rows of them and of a run that the store has lost."""
    spec = RunSpec.from_arguments(["https://shop.example/"])
    for run_id in (*LIVE, *FAILED):
        store.run(CreateRun(run_id, spec))
    for run_id in FAILED:
        claim = store.run(ClaimPart(PartId(run_id, 0), "token", seconds=60, states=PartState, isolated=True))
        store.run(FinishPart(claim, "failed"))
        store.run(RecordOutcome(run_id, "failed", {}))
    now = datetime.now(UTC)
    for run_id in (*LIVE, *FAILED):
        ScrapeRun.objects.create(run_id=run_id, state="queued", created=now)
    names = {"label": "prices", "tags": ["shop:7"], "hosts": "shop.example", "created": now}
    figures = {"done": 1200, "failed": 34, "total": 1234, "credits": 5678.5}
    ended = {"ended": now, "error_type": "JobFailedError", "error": REASON}
    reasons = [{"reason": REASON, "count": 34}]
    ScrapeRun.objects.create(run_id="2", state="failed", reasons=reasons, **figures, **names, **ended)


def visit_all(visitor):
    """Yield the name and the text of each page, and of each page after a form."""
    budgets, schedules = f"{LIST}budgets/", f"{LIST}schedules/"
    yield "empty list", visitor.get(LIST, q="nothing")
    yield "list", visitor.get(LIST)
    yield "filtered", visitor.get(LIST, tag="shop:7", label="prices")
    yield "run", visitor.get(f"{LIST}2/change/")
    yield "live run", visitor.get(f"{LIST}{LIVE[0]}/change/")
    yield "no budgets", visitor.get(budgets)
    yield "no action", visitor.post(LIST, action="cancel")
    for action, runs in (("cancel", LIVE), ("retry", FAILED)):
        yield f"{action} of one", visitor.post(LIST, action=action, _selected_action=runs[:1])
        yield f"{action} of two", visitor.post(LIST, action=action, _selected_action=runs[1:])
    change = {"scope": "tag:shop:7", "action": "set", "period": "day", "limit": "5000.5"}
    changes = {"set": change, "stop": {**change, "action": "stop"}, "resume": {**change, "action": "resume"}}
    changes |= {"month": {**change, "period": "month"}, "remove": {**change, "limit": ""}}
    for name, fields in changes.items():
        yield f"question to {name}", visitor.post(budgets, **fields)
        yield f"after {name}", visitor.post(budgets, **fields, confirmed="1")
    yield "again", visitor.post(budgets, **changes["remove"], confirmed="1")
    yield "wrong", visitor.post(budgets, **{**change, "period": ""}, confirmed="1")
    day = list_days(store, 1)[-1]
    redis.hset(store.keys.host_spend(day), "shop.example", 2500)
    redis.hset(store.keys.spend(name_day(day)), "account:shop spent", 2500)
    yield "costs", visitor.get(budgets)
    yield "schedules", visitor.get(schedules)
    for number, action in enumerate(("pause", "pause", "resume", "resume", "run", "run", "run")):
        fields = {"name": "every night", "action": action, "note": "now and then" if action == "pause" else ""}
        yield f"{number}: question to {action}", visitor.post(schedules, **fields)
        yield f"{number}: after {action}", visitor.post(schedules, **fields, confirmed="1", key=str(min(number, 5)))
    app.conf.beat_schedule = {}
    redis.flushall()
    yield "no schedules", visitor.get(schedules)


def check_migrations():
    """Return whether the migrations fit the models in German, and whether the migration of the names is no SQL."""
    sql = io.StringIO()
    with override("de"):
        call_command("makemigrations", "scrape_do", check_changes=True, dry_run=True, verbosity=0)
    call_command("sqlmigrate", "scrape_do", "0004", stdout=sql)
    return re.findall(r"^(?!--|BEGIN|COMMIT|$).+", sql.getvalue(), re.MULTILINE)


def visit():
    """Yield the name of each observation, and the observation."""
    client = log_in("editor", "view_scraperun", "change_scraperun")
    log = io.StringIO()
    logging.basicConfig(stream=log, level=logging.INFO, force=True)
    yield "SQL of the names", check_migrations()
    make_runs()
    pages = {name: read_texts(page) for name, page in visit_all(Visitor(client, MADE_UP))}
    yield "untranslated", {name: find_untranslated(text) for name, text in pages.items()}
    yield "unseen", find_unseen("\n".join(pages.values()))
    yield "log", log.getvalue()
    german, english = (Visitor(client, language).get(LIST) for language in ("de", "en"))
    yield "German", [text in german for text in ("Bezeichnung", "Schlagwort", "1.234 von 1.234, 34 fehl", "5.678,5")]
    yield "English", [text in english for text in ("Label", "By tag", "1,234 of 1,234, 34 failed", "5,678.5", REASON)]
    row = next(one for one in english.split("<tr>") if 'value="2"' in one)
    yield "row", dict(re.findall(r'class="field-(label|hosts|failures|cost)[^>]*>([^<]*)<', row))


locale = "django.middleware.locale.LocaleMiddleware"
with override_settings(LOCALE_PATHS=[str(folder)], MIDDLEWARE=[*settings.MIDDLEWARE, locale], LANGUAGE_CODE="en"):
    write_made_up_language()
    sys.stdout.write(json.dumps(dict(visit())))
