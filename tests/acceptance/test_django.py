"""Test a real Django project with its own `config` and `tasks`: the app in `INSTALLED_APPS` is enough."""

from __future__ import annotations

import json
import os
import re
import signal
from uuid import UUID

import httpx
import pytest
import redis
from example_project import ExampleProject
from pipeline import TOKEN

from scrape_do_celery.store.register import REGISTER


class Site(ExampleProject):
    """The example with its own database, and with this package installed as a wheel."""

    def __init__(self, python, pipeline):
        settings = {"DJANGO_SETTINGS_MODULE": "config.settings", "DJANGO_DATABASE": "db.sqlite3"}
        super().__init__("django", python, pipeline, **settings)
        self.manage("migrate", "-v0")

    def manage(self, *arguments, **options):
        return self.run("manage.py", *arguments, **options)

    def shell(self, script):
        """Return the output of a script in the project, parsed from JSON."""
        return json.loads(self.manage("shell", "-v0", "-c", script).splitlines()[-1])

    def configure(self, **settings):
        """Name settings in the project's own dict."""
        given = {name.upper(): value for name, value in settings.items()}
        given["REDIS_URL"] = self.environment["REDIS_URL"] + given.get("REDIS_URL", "/0")
        file = self.folder / "config" / "settings.py"
        file.write_text(f"{file.read_text()}\nSCRAPE_DO |= {given!r}\n")

    def serve(self):
        return super().serve("manage.py", "runserver", "--noreload")


@pytest.fixture
def project(users_python, pipeline):
    with Site(users_python, pipeline) as one:
        yield one


def test_a_form_starts_a_scrape_and_shows_its_progress(project, eventually):
    project.work("config")
    site = project.serve()
    urls = [f"https://{name}.example/" for name in "abc"]
    with httpx.Client(base_url=site, follow_redirects=True) as client:
        form = client.get("/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text).group(1)
        bad = client.post("/", data={"urls": "not an address", "csrfmiddlewaretoken": token})
        assert bad.status_code == 400
        assert "targets[0]" in bad.text
        # A user who writes an address twice wants one page, and pays for one.
        page = client.post("/", data={"urls": "\n".join([*urls, urls[0]]), "csrfmiddlewaretoken": token})
        assert page.status_code == 200
        status = f"{page.url.path}status"
        eventually(lambda: len(client.get(status).json().get("titles", ())) == 3)
        found = client.get(status).json()
    assert (found["state"], found["done"], found["total"]) == ("succeeded", 3, 3)
    assert sorted(row["url"] for row in found["titles"]) == urls
    assert project.pipeline.posts() == 1
    eventually(lambda: project.shell(MIRRORED) == [[found["run_id"], "succeeded", 3, 3]])


MIRRORED = """
import json
from scrape_do_celery.contrib.django.models import ScrapeRun
print(json.dumps(list(ScrapeRun.objects.values_list("run_id", "state", "done", "total"))))
"""


@pytest.mark.browser
def test_in_a_browser(project, browser):
    """Check the pages of a user: the form, progress without a reload, the titles."""
    project.pipeline.sandbox.configure(task_seconds=3.0)
    project.work("config")
    browser.open(project.serve())
    browser.fill("textarea", "https://a.example/ https://b.example/")
    browser.click("button")
    browser.wait_for("running")
    browser.run("window.here = true")
    browser.wait_for("succeeded")
    browser.wait_for("2 done, 0 failed, of 2")
    browser.wait_for("https://b.example/")
    assert browser.run("return window.here"), "it was not loaded again"


ROLLBACK = """
import json
from django.db import transaction
from scrape_do_celery import RunHandle, RunNotFoundError, enqueue
found = {}
try:
    with transaction.atomic():
        gone = enqueue(["https://gone.example/"])
        raise KeyError
except KeyError:
    pass
try:
    gone.state
except RunNotFoundError:
    found["rolled back"] = "never written"
with transaction.atomic():
    kept = enqueue(["https://kept.example/"], idempotency_key="once")
    same = enqueue(["https://kept.example/"], idempotency_key="once")
    try:
        kept.state
    except RunNotFoundError:
        found["before"] = "not yet"
found["after"] = len(kept.result(timeout=60).tasks)
with transaction.atomic():
    found["key"] = enqueue(["https://kept.example/"], idempotency_key="once").run_id == kept.run_id
transaction.set_autocommit(False)
try:
    enqueue(["https://gone.example/"])
except transaction.TransactionManagementError:
    found["by hand"] = "refused"
print(json.dumps(found))
"""


def test_rolled_back_transaction_buys_nothing(project):
    project.work("config")
    assert project.shell(ROLLBACK) == {
        "rolled back": "never written",
        "before": "not yet",
        "after": 1,
        "key": True,
        "by hand": "refused",
    }
    assert project.pipeline.posts() == 1


ON_COMMIT = """
import json
from celery.result import AsyncResult
from django.db import transaction
from scrape_do_celery import RunHandle, RunNotFoundError
from scrape_do_celery.tasks import scrape
try:
    with transaction.atomic():
        scrape.delay_on_commit(["https://gone.example/"])
        scrape.apply_async_on_commit((["https://gone.example/"],), task_id="gone")
        raise KeyError
except KeyError:
    pass
with transaction.atomic():
    scrape.delay_on_commit(["https://kept.example/"])
    scrape.apply_async_on_commit((["https://kept.example/2"],), task_id="kept")
    try:
        before = RunHandle("kept").state.value
    except RunNotFoundError:
        before = "not yet"
print(json.dumps([before, AsyncResult("kept").get(timeout=60)["outcome"]]))
"""


def test_a_task_waits_for_the_commit_as_other_tasks_of_the_project_do(project, eventually):
    project.work("config")
    assert project.shell(ON_COMMIT) == ["not yet", "succeeded"]
    eventually(lambda: project.pipeline.posts() == 2)


ASYNC = """
import json
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from scrape_do_celery import RunHandle, RunNotFoundError, aenqueue, aenqueue_many, enqueue
found = {}
async def start(url):
    return await aenqueue([url])
async def start_many(url):
    return (await aenqueue_many([[url]]))[0]
async def start_without_await(url):
    return enqueue([url])
@sync_to_async
def in_a_transaction(url):
    with transaction.atomic():
        return enqueue([url])
def is_written(handle):
    try:
        return bool(handle.state)
    except RunNotFoundError:
        return False
for name, start_run in {"one": start, "many": start_many}.items():
    try:
        with transaction.atomic():
            gone = async_to_sync(start_run)(f"https://{name}-gone.example/")
            raise KeyError
    except KeyError:
        pass
    with transaction.atomic():
        kept = async_to_sync(start_run)(f"https://{name}-kept.example/")
        early = is_written(kept)
    found[name] = [is_written(gone), early, is_written(kept)]
found["no transaction"] = is_written(async_to_sync(start)("https://free.example/"))
async def from_a_coroutine():
    return await in_a_transaction("https://sync.example/")
found["sync_to_async"] = is_written(async_to_sync(from_a_coroutine)())
def refused(call):
    try:
        call()
    except SynchronousOnlyOperation as error:
        return "aenqueue" in str(error)
    return False
found["refused"] = refused(lambda: async_to_sync(start_without_await)("https://wrong.example/"))
with transaction.atomic():
    found["refused in a transaction"] = refused(lambda: async_to_sync(start_without_await)("https://wrong.example/"))
    found["as on_commit"] = False
    async def on_commit():
        transaction.on_commit(print)
    try:
        async_to_sync(on_commit)()
    except SynchronousOnlyOperation:
        found["as on_commit"] = True
print(json.dumps(found))
"""


def test_coroutine_in_a_transaction_that_is_rolled_back_buys_nothing(project):
    project.work("config")
    assert project.shell(ASYNC) == {
        "one": [False, False, True],
        "many": [False, False, True],
        "no transaction": True,
        "sync_to_async": True,
        "refused": True,
        "refused in a transaction": True,
        "as on_commit": True,
    }


NO_ORPHANS = "no orphans: each running job belongs to a run\n"

RACE = """
import json
from datetime import UTC, datetime
from django.db.models import QuerySet
from scrape_do_celery import RunState
from scrape_do_celery.contrib.django.mirror import mirror_run
from scrape_do_celery.contrib.django.models import ScrapeRun
from scrape_do_celery.runs import RunStatus
now, make = datetime.now(UTC), QuerySet.get_or_create
def told(state, ended=None):
    mirror_run(RunStatus("r", state, 0, 0, 0, 1, 0.0, (), now, ended, None))
def slow(self, **values):
    QuerySet.get_or_create = make
    told(RunState.RUNNING)  # another process, with its older word
    return make(self, **values)
QuerySet.get_or_create = slow
told(RunState.SUCCEEDED, now)
told(RunState.RUNNING)
print(json.dumps([ScrapeRun.objects.get().state]))
"""


def test_last_of_two_concurrent_updates_wins(project):
    assert project.shell(RACE) == ["succeeded"]


CALLED = """
import io, json
from django.core.management import call_command
out = io.StringIO()
call_command("scrape_do_enqueue", "https://b.example/", stdout=out)
print(json.dumps(out.getvalue()))
"""


@pytest.mark.long
def test_commands(project, eventually):
    project.work("config")
    printed = project.manage("scrape_do_enqueue", "https://a.example/", "--geo-code", "us")
    run_id = printed.strip()
    for text in (printed, project.shell(CALLED)):
        assert text == f"{UUID(text.strip())}\n", "a script takes what is printed"
    eventually(lambda: "succeeded" in project.manage("scrape_do_status", run_id))
    assert "No such" not in project.manage("scrape_do_status", "nothing", code=1)
    assert "geo" in project.manage("scrape_do_enqueue", "https://a.example/", "--geo-code", "usa", code=1)


@pytest.mark.long
@pytest.mark.parametrize("words", [("manage.py", "scrape_do"), ("-m", "celery", "-A", "config", "scrape-do")])
def test_each_form_of_the_commands_uses_the_settings_of_the_project(project, eventually, words):
    """Check both forms with an environment that names another store, and the sandbox's only account."""
    project.configure(key_prefix=project.pipeline.prefix, queue=project.pipeline.prefix)
    worker = {"SCRAPE_DO_API_KEY": project.pipeline.values["api_key"]}
    strange = {"SCRAPE_DO_KEY_PREFIX": "elsewhere", "SCRAPE_DO_QUEUE": "elsewhere", **worker}
    project.work("config", **strange)
    run_id = project.run(*words, "enqueue", "https://a.example/?seconds=600", **strange).strip()
    eventually(lambda: project.pipeline.posts() == 1)
    assert "has not ended" in project.run(*words, "result", run_id, code=3, **strange)
    # Stores of other tests on this server have the same account, and doctor would refuse such neighbours.
    redis.Redis.from_url(project.pipeline.values["redis_url"]).delete(REGISTER)
    assert f"SCRAPE_DO_KEY_PREFIX = {project.pipeline.prefix}\n" in project.run(*words, "doctor", **strange)
    assert project.run(*words, "orphans", "--cancel", "--yes", **strange) == NO_ORPHANS
    # The plain command has the settings of the environment, whose store does not know the account.
    said = project.run("-m", "scrape_do_celery", "orphans", "--cancel", "--yes", code=1, **strange)
    assert "never bought for this account" in said
    [job] = project.pipeline.sandbox.jobs()
    assert not job["canceled"]


def test_all_commands_are_commands_of_the_project(project):
    from scrape_do_celery.cli import main

    said = project.manage("scrape_do", "--help")
    assert all(name in said for name in main.commands)
    assert "--cancel" in project.manage("scrape_do", "orphans", "--help")
    assert "RunNotFoundError" in project.manage("scrape_do", "status", "none", "--settings=config.settings", code=1)
    assert "No such command" in project.manage("scrape_do", "nonsense", code=2)
    assert "no budgets" in project.manage("scrape_do", "budgets", "list")
    # An option that may be repeated keeps all its values: the first one is wrong here.
    assert "a tag must" in project.manage(
        "scrape_do_enqueue", "https://a.example/", "--tag", "a,", "--tag", "b", code=1
    )
    assert project.shell(CALLED_GROUP) == "1"


CALLED_GROUP = """
import io, json
from django.core.management import CommandError, call_command
try:
    call_command("scrape_do", "status", "none")
except CommandError as error:
    print(json.dumps(str(error.returncode)))
"""


def test_check_warns_of_tasks_that_run_eagerly(project):
    settings = project.folder / "config" / "settings.py"
    assert "W001" not in project.manage("check", "--fail-level", "WARNING")
    settings.write_text(settings.read_text() + "\nCELERY_TASK_ALWAYS_EAGER = True\n")
    said = project.manage("check", "--fail-level", "WARNING", code=1)
    assert "scrape_do.W001" in said
    assert "In development, start a worker" in said
    said = project.manage("scrape_do_enqueue", "https://a.example/", code=1)
    assert "In development, start a worker" in said


def test_check_names_a_wrong_key(project):
    settings = project.folder / "config" / "settings.py"
    settings.write_text(settings.read_text() + '\nSCRAPE_DO |= {"REDIS_ULR": "x", "queue": "q", "LEASE_SECONDS": -1}\n')
    said = project.manage("check", code=1)
    assert "SCRAPE_DO['REDIS_ULR']: unknown key; did you mean REDIS_URL?" in said
    assert "SCRAPE_DO['queue']: write the key in capitals: QUEUE" in said
    assert "SCRAPE_DO['LEASE_SECONDS']" in said


class Admin:
    """A user's session in the admin's list of runs."""

    LIST = "/admin/scrape_do/scraperun/"

    def __init__(self, site):
        self.http = httpx.Client(base_url=site, follow_redirects=True)
        self.post("/admin/login/?next=/admin/", username="anna", password="of-green-gables")

    def post(self, path, **data):
        self.http.get(path)
        done = self.http.post(path, data={**data, "csrfmiddlewaretoken": self.http.cookies["csrftoken"]})
        assert done.status_code == 200
        return done.text

    def act(self, action, *run_ids):
        return self.post(self.LIST, action=action, _selected_action=list(run_ids))

    def list(self, **filters):
        return self.http.get(self.LIST, params=filters).text


ENQUEUE = """
import json
from scrape_do_celery import enqueue
mixed = enqueue(["https://a.example/", "https://b.example/?gone=410"])
mixed.result(timeout=60)
print(json.dumps([mixed.run_id, enqueue(["https://c.example/?seconds=600"]).run_id]))
"""


@pytest.mark.long
def test_the_admin_filters_cancels_retries_and_downloads(project, eventually):
    project.work("config")
    given = {"DJANGO_SUPERUSER_PASSWORD": "of-green-gables"}
    project.manage("createsuperuser", "--noinput", "--username", "anna", "--email", "anna@example.com", **given)
    site = project.serve()
    mixed, slow = project.shell(ENQUEUE)
    admin = Admin(site)
    eventually(lambda: mixed in admin.list(state__exact="succeeded") and slow in admin.list(state__exact="running"))
    assert slow not in admin.list(state__exact="succeeded")
    assert "2 of 2, 1 failed" in admin.list(q=mixed)
    assert "1 \u00d7 the API no longer has the task" in admin.list(q=mixed)

    link = re.search(rf'href="({Admin.LIST}{mixed}/pages/)"', admin.list()).group(1)
    for text in (admin.http.get(link).text, admin.act("download", mixed)):
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["url"] for line in lines] == ["https://a.example/", "https://b.example/?gone=410"]
        assert lines[0]["content"]
    assert httpx.get(f"{site}{link}").status_code == 302, "nobody else sees pages"
    table = admin.act("download_table", mixed).splitlines()
    assert [line.split(",")[2] for line in table] == ["url", "https://a.example/", "https://b.example/?gone=410"]

    assert "Runs enqueued again: 1" in admin.act("retry", mixed)
    lineage = re.findall(r">([\w-]{36})</a>", admin.http.get(f"{Admin.LIST}{mixed}/change/").text)
    assert len(lineage) == 2
    assert lineage[0] == mixed
    assert "has not ended" in admin.act("retry", slow)
    assert "Runs that are being canceled: 1" in admin.act("cancel", slow)
    eventually(lambda: slow in admin.list(state__exact="canceled"))
    admin.http.close()
    jobs = project.pipeline.sandbox.jobs()
    assert sorted(len(job["tasks"]) for job in jobs) == [1, 1, 2], "only what failed was bought once more"


ENQUEUE_ONE = """
import json
from scrape_do_celery import enqueue
print(json.dumps(enqueue(["https://c.example/"]).run_id))
"""
WAIT_IN_MIRROR = """
import json
from scrape_do_celery.contrib.django.models import ScrapeRun
print(json.dumps([row.waiting_for and row.waiting_for["kind"] for row in ScrapeRun.objects.all()]))
"""


OLD_ROW = """
import json
from django.db import connection
from scrape_do_celery.contrib.django.models import ScrapeRun
with connection.cursor() as cursor:
    cursor.execute(
        "INSERT INTO scrape_do_scraperun (run_id, state, done, failed, gone, total, credits, jobs, error_type, error,"
        " created, updated) VALUES ('old', 'running', 0, 0, 0, 1, 0, '[]', '', '', '2026-01-01', '2026-01-01')"
    )
row = ScrapeRun.objects.get(run_id="old")
print(json.dumps([row.waiting_for, row.reasons, row.label, row.tags, row.hosts]))
"""


def test_a_worker_of_an_earlier_version_can_write_rows(project):
    assert project.shell(OLD_ROW) == [None, None, "", None, ""]


@pytest.mark.long
def test_the_admin_says_what_a_run_waits_for(project, eventually):
    """Read the reason from the store: without a worker, no announcement reaches the table."""
    project.pipeline.sandbox.configure(token="another-token")
    worker = project.work("config")
    given = {"DJANGO_SUPERUSER_PASSWORD": "of-green-gables"}
    project.manage("createsuperuser", "--noinput", "--username", "anna", "--email", "anna@example.com", **given)
    site = project.serve()
    run_id = project.shell(ENQUEUE_ONE)
    admin = Admin(site)
    eventually(lambda: "the API refuses the token since" in admin.list(q=run_id))
    assert "the API refuses the token since" in admin.http.get(f"{Admin.LIST}{run_id}/change/").text
    eventually(lambda: project.shell(WAIT_IN_MIRROR) == ["token_refused"])

    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(20)
    store = project.pipeline.app_context.store
    # The lease of the worker would end by itself after 30 seconds.
    store.client.delete(store.keys.namespace_owner)
    eventually(lambda: "no worker has served the store" in admin.list(q=run_id))
    assert project.shell(WAIT_IN_MIRROR) == ["token_refused"]
    project.pipeline.sandbox.configure(token=TOKEN)
    project.work("config")
    eventually(lambda: "succeeded" in admin.list(q=run_id))
    assert project.shell(WAIT_IN_MIRROR) == [None]
    # The models and the migrations of the app agree.
    project.manage("makemigrations", "scrape_do", "--check", "--dry-run")
    admin.http.close()
