"""Instrument a worker: each call of the store, the API, the broker and the result backend has points around it.

A point is named `<step>: before|after <what>`. Celery's signal sets the step in the thread that carries it out; asyncio
tasks inherit it. The keys of a command name the run; otherwise the claim of the asyncio task does.
"""

from __future__ import annotations

import asyncio
import re
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from celery import Celery, signals
from celery.backends.base import Backend

from scrape_do_celery import routing
from scrape_do_celery.client.drivers import AsyncioDriver
from scrape_do_celery.runs import context as contexts
from scrape_do_celery.store import PartState, client
from scrape_do_celery.store.due import Due
from tests.faults.fault_plan import ANY, FaultPlan
from tests.faults.worker_nemesis import perform

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_celery.client.attempt import Attempt

_PREFIX = "scrape_do."
_RUN_KEY = re.compile(r":(?:run|part|job|contents):([0-9a-f]{8}-[0-9a-f-]{27})")
_JOBS = "/api/v1/jobs"

_step: ContextVar[str] = ContextVar("step", default="")
_run: ContextVar[str] = ContextVar("run", default="")
#: Set while an action of the lab uses the store itself.
_acting: ContextVar[bool] = ContextVar("inside", default=False)


class Instrumentation:
    """The wrappers that carry out plans. A process has one instance; its state is in files and context variables."""

    def __init__(self, fault_plan: FaultPlan) -> None:
        self.fault_plan = fault_plan
        self._known_points: set[str] = set()

    def reach_point(self, where: str, runs: Iterable[str]) -> dict[str, Any] | None:
        """Carry out the action that is planned for this point. Return it if the wrapper of the call must do it."""
        if _acting.get():
            return None
        point = f"{current_step()}: {where}"
        if point not in self._known_points:
            self._known_points.add(point)
            self.fault_plan.mark_reached(point)
        if runs := list(runs):
            self.fault_plan.write_note(trace=point, runs=runs)
        for run in runs or [ANY]:
            if action := self.fault_plan.take_action(run, point):
                token = _acting.set(True)
                try:
                    return perform(self.fault_plan, action, run, point)
                finally:
                    _acting.reset(token)
        return None

    def install(self) -> None:
        """Put a point before and after every call."""
        signals.task_prerun.connect(_on_task_start, weak=False)
        client.Store.run = self._wrap(client.Store.run, _of_command, _run_ids_after)
        client.AsyncStore.run = self._wrap_async(self._note_send_checks(client.AsyncStore.run), _of_command)
        AsyncioDriver._run_attempt = self._wrap_async(AsyncioDriver._run_attempt, _describe_request)
        contexts.AppContext.publish = self._wrap(contexts.AppContext.publish, _describe_publish)
        Celery.send_task = self._wrap(Celery.send_task, _describe_send)
        Backend.store_result = self._wrap(Backend.store_result, _describe_result)
        Backend.get_state = self._wrap(Backend.get_state, _describe_state)

    def _wrap(self, call: Any, names: Any, after: Any = None) -> Any:
        def wrapped(this: Any, *args: Any, **kwargs: Any) -> Any:
            what, runs = names(*args, **kwargs)
            if not what:
                return call(this, *args, **kwargs)
            asked = self.reach_point(f"before {what}", runs) or {}
            if asked.get("kind") == "lose":
                return True
            if asked.get("kind") == "double":
                call(this, *args, **kwargs)
            answer = call(this, *args, **kwargs)
            self.reach_point(f"after {what}", after(runs, answer) if after else runs)
            return answer

        return wrapped

    def _wrap_async(self, call: Any, names: Any) -> Any:
        async def wrapped(this: Any, *args: Any, **kwargs: Any) -> Any:
            what, runs = names(*args, **kwargs)
            asked = self.reach_point(f"before {what}", runs) or {}
            if asked.get("kind") == "wait":
                await asyncio.sleep(asked["seconds"])
            if asked.get("kind") == "double":
                await call(this, *args, **kwargs)
            answer = await call(this, *args, **kwargs)
            self.reach_point(f"after {what}", runs)
            return answer

        return wrapped

    def _note_send_checks(self, call: Any) -> Any:
        """Note each last check before a purchase: a freeze right after it is the only known exception."""

        async def run(this: Any, command: Any) -> Any:
            if command.script == "check_before_send":
                self.fault_plan.write_note(send_check=_run_ids(command)[0])
            return await call(this, command)

        return run


def current_step() -> str:
    """Return the step of this thread. A thread without one is the dispatcher's, or was started by the dispatcher."""
    if known := _step.get():
        return known
    return "main" if threading.current_thread() is threading.main_thread() else "dispatcher"


def _on_task_start(task: Any, **_: Any) -> None:
    _step.set(task.name.removeprefix(_PREFIX))
    _run.set("")


#: The place of the new state among the arguments of `update_part`.
_TO = 8


def _of_command(command: Any) -> tuple[str, list[str]]:
    runs = _run_ids(command)
    if command.script == "claim_part":
        _run.set(runs[0])
    return _op_name(command), runs


def _op_name(command: Any) -> str:
    """Return the script's name, or the function that made the command if known, or else the command's name."""
    if command.script == "update_part":
        to = command.args[_TO]
        # Another argument at this place is no state: the lab would miss the points of the catalogue.
        return f"update_part {PartState(str(to))}" if to else "update_part"
    maker, _, local = getattr(command.parse, "__qualname__", "").partition(".")
    return command.script or (maker if local else str(command.args[0]))


def _run_ids(command: Any) -> list[str]:
    for text in (*command.keys, *command.args[1:2]):
        if isinstance(text, str) and (found := _RUN_KEY.search(text)):
            return [found[1]]
    return [_run.get()] if _run.get() else []


def _run_ids_after(runs: list[str], answer: Any) -> list[str]:
    """Return the runs that a call is for: a dispatcher's scan is for all that it hands out."""
    if isinstance(answer, Due):
        return list(dict.fromkeys([part.part_id.run_id for part in answer.parts] + [run.run_id for run in answer.runs]))
    return runs


def _describe_request(attempt: Attempt[Any], *_: Any) -> tuple[str, list[str]]:
    path = attempt.endpoint.path
    below = path.partition(_JOBS)[2].strip("/")
    what = ("jobs", "job", "task")[len(below.split("/")) if below else 0] if _JOBS in path else path.rpartition("/")[2]
    return f"{attempt.endpoint.method} {what}", [_run.get()] if _run.get() else []


def _describe_publish(publish: str, names: Iterable[Any], **_: Any) -> tuple[str, list[str]]:
    runs = [str(name) for name in names]
    return f"publish {publish.removeprefix(_PREFIX)}", [run.rpartition(":")[0] or run for run in runs]


def _describe_send(name: str, args: Any = None, *_: Any, **__: Any) -> tuple[str, list[str]]:
    return ("publish deliver_outcome", [str(args[0])]) if name == routing.DELIVER_OUTCOME and args else ("", [])


def _describe_result(task_id: str, *_: Any, **__: Any) -> tuple[str, list[str]]:
    return ("store result", [task_id]) if current_step() == "deliver_outcome" else ("", [])


def _describe_state(task_id: str, *_: Any, **__: Any) -> tuple[str, list[str]]:
    # Celery itself asks too, in a worker's main thread.
    return ("", []) if current_step() == "main" else ("ask Celery", [task_id])
