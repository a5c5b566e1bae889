"""Actions of a worker at a planned point."""

from __future__ import annotations

import os
import signal
import time
import uuid
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.commands.runs import RequestStop
from scrape_do_celery.store.part_ids import PartId

if TYPE_CHECKING:
    from scrape_do_celery.runs import AppContext
    from tests.faults.fault_plan import FaultPlan

#: Actions of the wrapper itself: leave the call out, make it twice, make it later.
CALL_ACTIONS = frozenset({"lose", "double", "wait"})
#: Seconds that a worker waits at most while the lab carries out a request.
_TIMEOUT = 4.0


def perform(fault_plan: FaultPlan, action: dict[str, Any], run: str, point: str) -> dict[str, Any] | None:
    """Carry an action out. Return the action if the wrapper must do it."""
    kind, ticket = action["kind"], uuid.uuid4().hex
    fault_plan.write_note(hit=point, run=run, ticket=ticket, **action)
    return action if kind in CALL_ACTIONS else _ACTIONS[kind](fault_plan, action, run, ticket)


def _kill(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_worker(*_: Any) -> None:
    os.killpg(0, signal.SIGKILL)


def _stop(*_: Any) -> None:
    # The lab reads the note, and resumes this process in time.
    os.kill(os.getpid(), signal.SIGSTOP)


def _ask_nemesis(fault_plan: FaultPlan, _: Any, __: str, ticket: str) -> None:
    fault_plan.wait_until_done(ticket, _TIMEOUT)


def _sleep(_: FaultPlan, action: dict[str, Any], *__: Any) -> None:
    time.sleep(action["seconds"])


def _app_context() -> AppContext:
    # Late import: the application must not be made before its worker.
    from scrape_do_celery.runs import AppContext
    from scrape_do_celery.worker import app

    return AppContext.for_app(app)


def _cancel(_: FaultPlan, __: dict[str, Any], run: str, ___: str) -> None:
    from scrape_do_celery.runs import RunHandle

    RunHandle(run, app_context=_app_context()).cancel()


def _stop_request(_: FaultPlan, __: dict[str, Any], run: str, ___: str) -> None:
    """Write a stop request without publishing a step message."""
    from scrape_do_celery.store import CANCEL

    store = _app_context().store
    store.run(RequestStop(run, CANCEL))


def _revoke(_: FaultPlan, __: dict[str, Any], run: str, ___: str) -> None:
    from scrape_do_celery.worker import app

    app.control.revoke(run)


def _message(_: FaultPlan, action: dict[str, Any], run: str, __: str) -> None:
    """Publish a step message without a reason."""
    from scrape_do_celery import routing

    publish = f"scrape_do.{action['publish']}"
    _app_context().publish(publish, [run if publish == routing.AGGREGATE_RUN else f"{run}:0"])


def _replace_message(fault_plan: FaultPlan, action: dict[str, Any], run: str, ticket: str) -> dict[str, Any]:
    """Publish another step message in place of the planned one."""
    _message(fault_plan, action, run, ticket)
    return {"kind": "lose"}


def _open_breaker(*_: Any) -> None:
    """Open the breaker as another worker's refused call does: the next claim must probe the account."""
    app_context = _app_context()
    key = app_context.store.keys.breaker(app_context.settings.account_id)
    app_context.store.client.hset(key, mapping={"since": time.time(), "next": time.time() - 0.01})


def _lose_intent(_: FaultPlan, __: dict[str, Any], run: str, ___: str) -> None:
    """Lose the store's last writes, so that a purchase may be among them."""
    store = _app_context().store
    store.client.hset(store.keys.part(PartId(run, 0)), "intent_lost", 1)


_ACTIONS = {
    "kill": _kill,
    "kill_worker": _kill_worker,
    "stop": _stop,
    "nemesis": _ask_nemesis,
    "sleep": _sleep,
    "cancel": _cancel,
    "request_stop": _stop_request,
    "revoke": _revoke,
    "message": _message,
    "replace_message": _replace_message,
    "open_breaker": _open_breaker,
    "lose_intent": _lose_intent,
}
