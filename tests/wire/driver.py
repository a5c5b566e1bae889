"""Plays one run: it stands in for the dispatcher and the broker, and moves the virtual clock to what is due next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from scrape_do_celery import routing
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.runs import AppContext, enqueue
from scrape_do_celery.store import CANCEL
from tests.wire.ground import TOKEN
from tests.wire.server import Account, page_of
from tests.wire.wire import Asked, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.models import TaskDetails
    from tests.wire.ground import Ground, Play

TARGETS = ["https://shop.example/p/1", "https://shop.example/p/2?q=a%20b", "https://shop.example/p/3"]
HOUR = 3600.0
#: Virtual seconds, and steps, after which a run counts as one without an end.
LONGEST, STEPS = 80 * HOUR, 600


@dataclass
class Played:
    """What became of a run, as its owner sees it, and as the server's books say."""

    account: Account
    targets: list[str]
    state: str = ""
    ended: bool = False
    #: virtual seconds and steps until the end
    took: float = 0.0
    steps: int = 0
    error: str = ""
    verified: bool = False
    #: the tasks in the order in which the run gives them
    tasks: list[TaskDetails] = field(default_factory=list)
    placed: bool = False
    escaped: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    @property
    def bought(self) -> int:
        """Purchases of the run's targets."""
        return self.account.sold[tuple(sorted(self.targets))]

    def task_of(self, target: str) -> TaskDetails | None:
        """The stored task that holds a target's page."""
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
    #: virtual seconds from and until which every call is answered 401
    refused: tuple[float, float] | None = None
    full_list: bool = False


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("plain"),
        Scenario("list", seconds=60.0, by_list=True),
        Scenario("lost", seconds=300.0, lost=True),
        Scenario("lost, full list", seconds=300.0, lost=True, full_list=True),
        Scenario("cancel", seconds=240.0, cancel_at=100.0),
        Scenario("refused", seconds=12.0, refused=(4.0, 200.0)),
    )
}


def play(
    ground: Ground,
    scenario: Scenario,
    tamper: Callable[[Wire], bool] | None = None,
    *,
    targets: list[str] | None = None,
    refuse: Callable[[Asked], Wire | None] | None = None,
    account: Account | None = None,
    **settings: Any,
) -> Played:
    """Plays a run to its end, or to the bound."""
    targets = targets or TARGETS
    with ground.play(by_list=scenario.by_list, **settings) as one:
        account = account or Account(ground.now)
        account.seconds, account.full_list = scenario.seconds, scenario.full_list
        began = ground.now()
        account.sell(["https://other.example/1"], began - 9000)
        account.sell(["https://other.example/2", "https://other.example/3"], began - 30)
        state = {"lost": scenario.lost}

        def change(wire: Wire) -> bool:
            if state["lost"] and wire.asked.kind == "create":
                state["lost"], wire.cut = False, 0
                return False
            return tamper(wire) if tamper else False

        def hold(asked: Asked) -> Wire | None:
            if scenario.refused and scenario.refused[0] < ground.now() - began < scenario.refused[1]:
                return Wire(asked, 401, {"Error": "token refused", "Code": 401})
            return refuse(asked) if refuse else None

        account.tamper, account.refuse = change, hold
        ground.server.account = account
        played = Played(account, targets)
        try:
            _run(ground, one, scenario, played, began)
        finally:
            ground.server.account = None
        if account.failures:
            raise RuntimeError(f"the lab's server failed: {account.failures[0]}")
        return played


def _run(ground: Ground, one: Play, scenario: Scenario, played: Played, began: float) -> None:
    handle = _enqueue(one, played.targets)
    store, canceled, idle = one.producer.store, scenario.cancel_at is None, 0
    while True:
        _serve(ground, one, played)
        record = handle._record()
        if record.outcome is not None:
            played.ended = True
            break
        if ground.now() - began > LONGEST or played.steps > STEPS:
            break
        if not canceled and ground.now() - began >= (scenario.cancel_at or 0):
            canceled = True
            one.producer.request_stop(handle.run_id, CANCEL)
            continue
        one.dispatcher.dispatch_due()
        if one.messages:
            idle = 0
            continue
        wait = _next_due(store, ground.now()) if not idle else 0.0
        wait = max(wait, 0.01 if not idle else min(0.5 * 2**idle, 600.0))
        idle += 1
        if not canceled:
            wait = min(wait, max(0.01, began + (scenario.cancel_at or 0) - ground.now()))
        ground.forward(wait)
    played.took = ground.now() - began
    _read(ground, handle, played)


def _enqueue(one: Play, targets: list[str]) -> Any:
    with patch.object(AppContext, "for_app", lambda *_, **__: one.producer):
        return enqueue(targets)


def _serve(ground: Ground, one: Play, played: Played) -> None:
    while one.messages and played.steps <= STEPS:
        step, names = one.messages.pop(0)
        if step == routing.DELIVER_OUTCOME:
            continue
        played.steps += 1
        try:
            ground.app.tasks[step](names)
        except Exception as error:  # noqa: BLE001 (whatever escapes a step is what the lab looks for)
            played.escaped.append(f"{step}: {type(error).__name__}: {error}"[:200])


def _next_due(store: Any, now: float) -> float:
    keys = store.keys
    pipe = store.client.pipeline()
    pipe.zrange(keys.due, 0, 0, withscores=True)
    for account in store.client.smembers(keys.accounts):
        pipe.zrange(keys.poll_set(account.decode()), 0, 0, withscores=True)
    return min((found[0][1] for found in pipe.execute() if found), default=now) - now


def _read(ground: Ground, handle: Any, played: Played) -> None:
    status = handle.status
    played.state = str(status.state)
    played.error = "" if status.error is None else f"{type(status.error).__name__}: {status.error}"
    try:
        played.tasks = list(handle.iter_tasks(partial=True))
        if played.ended and status.error is None:
            result = handle.result(timeout=0)
            played.verified, played.tasks = result.order_verified, list(result.tasks)
            pages = [page_of(target) for target in played.targets]
            played.placed = [_content(task) for task in played.tasks] == pages
    except ScrapeDoError as error:
        played.escaped.append(f"reading: {type(error).__name__}: {error}"[:200])
    played.escaped += ground.errors.escaped
    played.leaks += ground.errors.leaks
    played.leaks += _leaks(ground)


def _leaks(ground: Ground) -> list[str]:
    """Keys of the store whose values hold the token."""
    found = []
    for key in ground.client.scan_iter():
        kind = ground.client.type(key)
        value = b""
        if kind == b"hash":
            value = b" ".join(ground.client.hgetall(key).values())
        elif kind == b"string":
            value = ground.client.get(key) or b""
        if TOKEN.encode() in value:
            found.append(key.decode())
    return found
