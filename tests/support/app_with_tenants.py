"""A multi-tenant application: publishing sets the tenant and the request's id, and a task runs for its tenant."""

from __future__ import annotations

import json
import os
from contextvars import ContextVar

import redis
from celery import Celery, Task
from celery.signals import before_task_publish, task_postrun, task_prerun

from scrape_do_celery import scheduled_run

#: The tenant outside of any request: that of a beat that serves one tenant.
OUTSIDE = os.environ.get("OUTSIDE_TENANT", "public")
TENANT: ContextVar[str] = ContextVar("tenant", default=OUTSIDE)
REQUEST: ContextVar[str] = ContextVar("request", default="none")


class TenantTask(Task):
    """A task whose publication carries the id of the request, as a team's own class does it."""

    abstract = True

    def apply_async(self, args=None, kwargs=None, task_id=None, **options):
        headers = {**(options.pop("headers", None) or {}), "request_no": REQUEST.get()}
        return super().apply_async(args, kwargs, task_id=task_id, headers=headers, **options)


@before_task_publish.connect(weak=False)
def add_tenant(headers, **_):
    headers["tenant"] = TENANT.get()


@task_prerun.connect(weak=False)
def enter_tenant(task, **_):
    TENANT.set(getattr(task.request, "tenant", "public"))
    REQUEST.set(getattr(task.request, "request_no", "none"))


@task_postrun.connect(weak=False)
def leave_tenant(**_):
    TENANT.set(OUTSIDE)
    REQUEST.set("none")


app = Celery("tenants", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BACKEND"], task_cls=TenantTask)
app.conf.update(
    include=["scrape_do_celery.tasks"],
    task_default_queue=os.environ["SCRAPE_DO_QUEUE"],
    beat_max_loop_interval=1,
    **json.loads(os.environ.get("SHOP_CONF", "{}")),
)


def note(label, *args):
    """Note for the test which tenant and request a task of the app runs for."""
    with redis.Redis.from_url(os.environ["SCRAPE_DO_REDIS_URL"]) as client:
        line = json.dumps([label, TENANT.get(), REQUEST.get()])
        client.rpush(f"{os.environ['SCRAPE_DO_KEY_PREFIX']}:notes", line)


@app.task(name="tenants.pages")
def pages(label):
    note(f"{label} before")
    return [f"https://{label}.example/"]


@app.task(name="tenants.after")
def after(result, label):
    note(label)
    return label


@app.task(name="tenants.failed")
def failed(*args, label):
    note(label)


@app.task(name="tenants.start")
def start(label):
    """Enqueue a run inside a task of the tenant."""
    from scrape_do_celery import enqueue

    return enqueue([f"https://{label}.example/"], on_success=after.s(label)).run_id


if os.environ.get("WITH_SCHEDULE"):
    app.conf.beat_schedule = {
        "prices": scheduled_run(
            "prices", 2.0, ["https://beat.example/"], if_running="queue", on_success=after.s("beat")
        ),
        # A schedule of the public step, without this package's entries.
        "pages": {
            "task": "scrape_do.scrape",
            "schedule": 2.0,
            "args": [["https://plain.example/"]],
            "options": {"link": after.s("plain"), "queue": os.environ["SCRAPE_DO_QUEUE"]},
        },
    }
