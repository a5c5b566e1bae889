"""Play one run in place of dispatcher and broker: the virtual clock moves to the next due time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from scrape_do_celery import Target, routing
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.runs import AppContext, enqueue
from scrape_do_celery.store import CANCEL
from tests.wire.environment import TOKEN
from tests.wire.messages import ApiRequest, MutableResponse
from tests.wire.server import Account, name_set, page_of
from tests.wire.webhook_sender import SETTINGS, WebhookReceiver, WebhookSender

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.models import TaskDetails
    from tests.wire.environment import LabEnvironment, RunEnvironment

SETS = [{"q": f"coffee {n}", "gl": "us"} for n in range(1, 4)]
TARGETS = ["https://shop.example/p/1", "https://shop.example/p/2?q=a%20b", "https://shop.example/p/3"]
HOUR = 3600.0
#: Virtual seconds, and steps, after which a run counts as endless.
MAX_SECONDS, MAX_STEPS = 80 * HOUR, 600


@dataclass
class ObservedRun:
    """A run in its owner's view, and the purchases in the server's books."""

    account: Account
    targets: list[str]
    state: str = ""
    ended: bool = False
    #: virtual seconds and steps until the end
    took: float = 0.0
    steps: int = 0
    error: str = ""
    verified: bool = False
    #: the tasks in the order in which the run gives them, and the tasks that a stream gave before
    tasks: list[TaskDetails] = field(default_factory=list)
    streamed: list[TaskDetails] = field(default_factory=list)
    has_meta: bool = False
    in_order: bool = False
    escaped_errors: list[str] = field(default_factory=list)
    token_leaks: list[str] = field(default_factory=list)

    @property
    def bought(self) -> int:
        """Purchases of the run's targets."""
        return self.account.sold[tuple(sorted(self.targets))]

    def task_of(self, target: str) -> TaskDetails | None:
        """Return the stored task that holds a target's page."""
        return next((task for task in self.tasks if _content(task) == page_of(target)), None)


def _content(task: TaskDetails) -> str | None:
    try:
        found = task.decoded_content()
    except ValueError:
        return None
    return None if found is None else found.decode(errors="replace")


@dataclass(frozen=True)
class Scenario:
    """The course of a play without a mutation."""

    name: str
    seconds: float = 12.0
    by_list: bool = False
    #: the answer to the first `POST` is lost on its way
    lost: bool = False
    #: virtual seconds after which the run is canceled
    cancel_at: float | None = None
    #: virtual seconds between which every call is answered 401
    refused: tuple[float, float] | None = None
    full_list: bool = False
    #: each target has its page's name as `meta`
    meta: bool = False
    #: the run is of a plugin, with the sets `SETS` in place of targets
    plugin: bool = False
    #: the run has webhooks, and its deliveries are used in this way: "hint", "content" or "calibrated content"
    webhooks: str = ""

    @property
    def is_calibrated(self) -> bool:
        """Whether delivered pages are stored, and not fetched for a comparison."""
        return self.webhooks == "calibrated content"


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("plain", meta=True),
        Scenario("list", seconds=60.0, by_list=True),
        Scenario("lost", seconds=300.0, lost=True),
        Scenario("lost, full list", seconds=300.0, lost=True, full_list=True, meta=True),
        Scenario("cancel", seconds=240.0, cancel_at=100.0),
        Scenario("refused", seconds=12.0, refused=(4.0, 200.0), meta=True),
        Scenario("plugin", plugin=True),
        Scenario("webhook hint", seconds=240.0, webhooks="hint"),
        Scenario("webhook content", seconds=240.0, webhooks="content", meta=True),
        Scenario("webhook calibrated", seconds=240.0, webhooks="calibrated content"),
        Scenario("webhook lost", seconds=300.0, lost=True, webhooks="content"),
    )
}


def run_scenario(
    environment: LabEnvironment,
    scenario: Scenario,
    mutate: Callable[[MutableResponse], bool] | None = None,
    *,
    targets: list[str] | None = None,
    refuse: Callable[[ApiRequest], MutableResponse | None] | None = None,
    account: Account | None = None,
    **settings: Any,
) -> ObservedRun:
    """Play a run to its end, or to the bound."""
    targets = targets or (list(map(name_set, SETS)) if scenario.plugin else TARGETS)
    settings = {**SETTINGS, "webhook_trust": scenario.webhooks.rpartition(" ")[2] or "hint", **settings}
    with environment.prepare_run(by_list=scenario.by_list, **settings) as one:
        account = account or Account(environment.now)
        account.seconds, account.full_list = scenario.seconds, scenario.full_list
        began = environment.now()
        account.create_job(["https://other.example/1"], began - 9000)
        account.create_job(["https://other.example/2", "https://other.example/3"], began - 30)
        state = {"lost": scenario.lost}

        def change(response: MutableResponse) -> bool:
            if state["lost"] and response.request.kind == "create":
                state["lost"], response.cut = False, 0
                return False
            return mutate(response) if mutate else False

        def hold(request: ApiRequest) -> MutableResponse | None:
            if scenario.refused and scenario.refused[0] < environment.now() - began < scenario.refused[1]:
                return MutableResponse(request, 401, {"Error": "token refused", "Code": 401})
            return refuse(request) if refuse else None

        account.mutate, account.refuse = change, hold
        environment.server.account = account
        observed = ObservedRun(account, targets, has_meta=scenario.meta)
        try:
            _run_to_end(environment, one, scenario, observed, began)
        finally:
            environment.server.account = None
        if account.failures:
            raise RuntimeError(f"the lab's server failed: {account.failures[0]}")
        return observed


def _run_to_end(
    environment: LabEnvironment, one: RunEnvironment, scenario: Scenario, observed: ObservedRun, began: float
) -> None:
    handle = _enqueue(one, scenario, observed.targets)
    receiver = WebhookReceiver(one.app_context, is_calibrated=scenario.is_calibrated)
    sender = WebhookSender(observed.account, receiver.receive)
    store, canceled, idle = one.app_context.store, scenario.cancel_at is None, 0
    while True:
        _run_steps(environment, one, observed)
        record = handle._read_record()
        if record.outcome is not None:
            observed.ended = True
            break
        if environment.now() - began > MAX_SECONDS or observed.steps > MAX_STEPS:
            break
        if not canceled and environment.now() - began >= (scenario.cancel_at or 0):
            canceled = True
            one.app_context.request_stop(handle.run_id, CANCEL)
            continue
        if sender.send_due() and one.messages:
            continue
        one.dispatcher.dispatch_due()
        if one.messages:
            idle = 0
            continue
        wait = _next_due(store, environment.now()) if not idle else 0.0
        wait = max(wait, 0.01 if not idle else min(0.5 * 2**idle, 600.0))
        idle += 1
        wait = max(0.01, min(wait, sender.next_due() - environment.now()))
        if not canceled:
            wait = min(wait, max(0.01, began + (scenario.cancel_at or 0) - environment.now()))
        environment.advance_clock(wait)
    observed.took = environment.now() - began
    _read_result(environment, handle, observed)


def _enqueue(one: RunEnvironment, scenario: Scenario, targets: list[str]) -> Any:
    with patch.object(AppContext, "for_app", lambda *_, **__: one.app_context):
        if scenario.plugin:
            return enqueue(plugin={"key": "google/search", "params": [json.loads(each) for each in targets]})
        webhook = bool(scenario.webhooks) or None
        return enqueue([Target(url, page_of(url)) if scenario.meta else url for url in targets], webhook=webhook)


def _run_steps(environment: LabEnvironment, one: RunEnvironment, observed: ObservedRun) -> None:
    while one.messages and observed.steps <= MAX_STEPS:
        step, names = one.messages.pop(0)
        if step == routing.DELIVER_OUTCOME:
            continue
        observed.steps += 1
        try:
            environment.app.tasks[step](names)
        except Exception as error:  # noqa: BLE001 (the lab looks for every exception that escapes a step)
            observed.escaped_errors.append(f"{step}: {type(error).__name__}: {error}"[:200])


def _next_due(store: Any, now: float) -> float:
    keys = store.keys
    pipe = store.client.pipeline()
    pipe.zrange(keys.due, 0, 0, withscores=True)
    for account in store.client.smembers(keys.accounts):
        pipe.zrange(keys.poll_set(account.decode()), 0, 0, withscores=True)
    return min((found[0][1] for found in pipe.execute() if found), default=now) - now


def _read_result(environment: LabEnvironment, handle: Any, observed: ObservedRun) -> None:
    status = handle.status
    observed.state = str(status.state)
    observed.error = "" if status.error is None else f"{type(status.error).__name__}: {status.error}"
    try:
        observed.tasks = observed.streamed = list(handle.iter_tasks(partial=True))
        if observed.ended and status.error is None:
            result = handle.result(timeout=0)
            observed.verified, observed.tasks = result.order_verified, list(result.tasks)
            pages = [page_of(target) for target in observed.targets]
            observed.in_order = [_content(task) for task in observed.tasks] == pages
    except ScrapeDoError as error:
        observed.escaped_errors.append(f"reading: {type(error).__name__}: {error}"[:200])
    observed.escaped_errors += environment.errors.escaped_errors
    observed.token_leaks += environment.errors.token_leaks
    observed.token_leaks += _keys_with_token(environment)


def _keys_with_token(environment: LabEnvironment) -> list[str]:
    """Return keys of the store whose values hold the token."""
    found = []
    for key in environment.client.scan_iter():
        kind = environment.client.type(key)
        value = b""
        if kind == b"hash":
            value = b" ".join(environment.client.hgetall(key).values())
        elif kind == b"string":
            value = environment.client.get(key) or b""
        if TOKEN.encode() in value:
            found.append(key.decode())
    return found
