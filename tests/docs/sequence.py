"""Record the calls of one run, with a real worker, the sandbox and a store, and draw them for docs/architecture.md."""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from celery import signals
from celery.backends.base import Backend
from celery.worker.state import revoked

from scrape_do_celery.config import Settings
from scrape_do_celery.runs import AppContext, enqueue, make_app
from scrape_do_celery.store import AsyncStore, Store
from scrape_do_celery.store.commands.prices import ClaimAccountReading
from scrape_do_celery.testing import Clock, Worker
from scrape_do_celery.testing.environment import sandbox_environment, server, session_servers
from scrape_do_celery.worker import lifecycle
from scrape_do_sandbox.request_log import RequestLog

#: From left to right.
PARTICIPANTS = ("caller", "store", "broker", "dispatcher", "worker", "API")
#: Commands that the diagrams leave out, each with its reason.
HOUSEKEEPING = {
    "AllocateRequests": "each process renews its share of the requests as time passes, not for a part",
    "RenewLease": "a lease is renewed as time passes, so a slow machine would draw another diagram",
    "ClaimNamespace": "the dispatcher renews its claim of the store every few seconds, for no part",
    "FindUnattendedAccounts": "the dispatcher looks for other accounts every few seconds, only to warn",
    "ReadAccounts": "the dispatcher looks every few seconds whether jobs are bought for the account, for no part",
    "ClaimAccountReading": "the dispatcher has the account's concurrency read every ten minutes, for no part",
    "HasRejected": "the dispatcher looks for rejected purchases every few seconds, for no part",
    "CountDecisionAttempt": "the count matters only for a run that could not be decided again and again",
}
URLS = ["https://shop.example/1", "https://shop.example/2"]
#: Seconds that the job takes; seconds by which the clock then moves, so that the job has ended at its first poll.
JOB_TAKES, AHEAD = 30, 60
#: Long times, so that a slow machine records the same calls.
SETTINGS = {"lease_seconds": 60.0, "submit_deadline": 30.0}
TIMEOUT = 60.0


class Call(NamedTuple):
    sender: str
    receiver: str
    label: str


POST = Call("worker", "API", "POST /jobs")


# Recording


@cache
def record_run(fault=None):
    """Return the calls of a run of two URLs in their order. `fault` is a name in `scrape_do_celery.testing.FAULTS`."""
    # Celery keeps revoked ids for the whole process, and other tests revoke some.
    revoked.clear()
    with _idle_worker() as (worker, clock, sandbox):
        sandbox.fault("job_takes", seconds=JOB_TAKES)
        if fault:
            sandbox.fault(fault)
        with _watched_calls() as (calls, main_thread):
            handle = enqueue(URLS)
            _wait_for_messages(worker)
            clock._move(AHEAD)
            main_thread["acts_as"] = "dispatcher"
            lifecycle.running_threads().dispatcher.dispatch_due()
            _wait_for_messages(worker)
            main_thread["acts_as"] = "caller"
            handle.result(timeout=0)
    return calls


@contextmanager
def _idle_worker():
    """Yield a worker, its clock and its sandbox. The worker's dispatcher makes no pass by itself."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = stack.enter_context(session_servers(stack.enter_context(server(folder))))
        app = stack.enter_context(closing(make_app(Settings(), "sequence")))
        environment = stack.enter_context(sandbox_environment(servers, app, SETTINGS))
        worker = stack.enter_context(Worker(app))
        environment.worker = worker
        stack.callback(setattr, environment, "worker", None)
        stack.enter_context(worker.paused())
        # The first pass after a purchase has the account read, for no part.
        app_context = AppContext.for_app(app)
        app_context.store.run(ClaimAccountReading(app_context.settings.account_id))
        yield worker, Clock(environment), servers.sandbox


@contextmanager
def _watched_calls():
    """Yield the list of calls, to which each call is added when it is made, and the role of this thread."""
    calls, here, main_thread = [], threading.current_thread(), {"acts_as": "caller"}

    def note(receiver, label, sender=None):
        ours = main_thread["acts_as"] if threading.current_thread() is here else "worker"
        calls.append(Call(sender or ours, receiver, label))

    def note_commands(*commands):
        for command in commands:
            note("store", type(command).__name__)

    def note_request(call, _):
        path = call.path.partition("?")[0].removeprefix("/api/v1")
        for found, shown in ((call.job_id, "{id}"), (call.task_id, "{task}")):
            path = path.replace(found or "\n", shown)
        note("API", f"{call.method} {path}", "worker")

    def note_published(sender, **_):
        note("broker", _step(sender))

    def note_received(sender, **_):
        note("worker", _step(sender.name), "broker")

    with (
        _watched(Store, "run", note_commands),
        _watched(Store, "run_all", lambda commands: note_commands(*commands)),
        _watched(AsyncStore, "run", note_commands),
        _watched(RequestLog, "open_entry", note_request),
        _watched(Backend, "store_result", lambda *given, **_: note("broker", f"result {given[2]}")),
        _connected(signals.before_task_publish, note_published),
        _connected(signals.task_prerun, note_received),
    ):
        yield calls, main_thread


def _watched(owner, name, note):
    original = getattr(owner, name)

    def noted(self, *args, **kwargs):
        note(*args, **kwargs)
        return original(self, *args, **kwargs)

    return patch.object(owner, name, noted)


@contextmanager
def _connected(signal, receiver):
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def _step(name):
    return name.removeprefix("scrape_do.")


def _wait_for_messages(worker):
    deadline = time.monotonic() + TIMEOUT
    while worker.messages.names:
        if time.monotonic() > deadline:
            raise TimeoutError(f"still at work: {worker.messages.names}")
        time.sleep(0.01)


# Drawing


def run_markdown():
    return draw(record_run())


def lost_answer_markdown():
    """Draw the calls from the `POST` whose answer is lost to the message for the next poll of the adopted job."""
    calls = record_run("submit_answer_lost")
    end = calls.index(Call("broker", "worker", "poll_jobs"))
    return draw(calls[calls.index(POST) : end])


def draw(calls):
    shown = shorten(calls)
    named = {name for call in shown for name in (call.sender, call.receiver)}
    participants = [f"  participant {name}" for name in PARTICIPANTS if name in named]
    arrows = [f"  {call.sender}->>{call.receiver}: {call.label}" for call in shown]
    return "\n".join(["```mermaid", "sequenceDiagram", *participants, *arrows, "```"])


def shorten(calls):
    """Return the calls without housekeeping. Each step has a call once, and its reads in a row are one call."""
    shown, seen = [], set()
    for call in calls:
        if call.receiver == "worker":
            seen.clear()
        if call.label in HOUSEKEEPING or call in seen:
            continue
        seen.add(call)
        if shown and _are_reads(shown[-1], call):
            shown[-1] = call._replace(label=f"{shown[-1].label}, {call.label}")
        else:
            shown.append(call)
    return shown


def _are_reads(one, other):
    return one[:2] == other[:2] and one.label.startswith("Read") and other.label.startswith("Read")
