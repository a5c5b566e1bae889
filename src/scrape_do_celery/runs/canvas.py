"""Keep the caller's canvas with a run until the outcome is delivered under the caller's Celery id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.canvas import Signature
from celery.states import FAILURE, SUCCESS
from kombu.utils.functional import maybe_list
from kombu.utils.json import dumps, loads

from scrape_do_celery import routing

if TYPE_CHECKING:
    from scrape_do_celery.runs.context import AppContext

#: Options of the caller's message and of its publication. The message that delivers the outcome must not copy them.
_OF_THE_MESSAGE = {
    *("exchange", "routing_key", "redelivered", "queue", "producer", "publisher", "connection", "router", "result_cls"),
    *("expires", "eta", "countdown", "retries", "retry", "retry_policy", "add_to_parent", "delivery_mode", "mandatory"),
    *("argsrepr", "kwargsrepr", "ignore_result", "time_limit", "soft_time_limit", "stamped_headers"),
}


def delivery_signature(app_context: AppContext, run_id: str, task_id: str, canvas: dict[str, Any]) -> str:
    """Return the message that will deliver the outcome under the caller's id, as JSON and with the caller's canvas."""
    kept = {name: value for name, value in canvas.items() if name not in _OF_THE_MESSAGE and value is not None}
    for name in ("link", "link_error"):
        kept[name] = maybe_list(kept.get(name)) or []  # type: ignore[no-untyped-call]
    # Logs and monitors show one name from the call to the outcome.
    kept = {"shadow": routing.SCRAPE, **kept, "task_id": task_id, "queue": app_context.settings.queue}
    text: str = dumps(app_context.app.signature(routing.DELIVER_OUTCOME, args=[run_id], options=kept))  # type: ignore[no-untyped-call]
    return text


def is_followed(stored: str, state: str) -> bool:
    """Return whether Celery calls a signature of the caller after it has stored this outcome.

    `stored` is the message that delivers the outcome, as JSON. Celery calls links, and the next task of a chain,
    before it stores the outcome.
    """
    names = {SUCCESS: ("chord",), FAILURE: ("link_error", "chain", "chord")}.get(state, ())
    options = loads(stored)["options"] if stored and names else {}  # type: ignore[no-untyped-call]
    return any(options.get(name) for name in names)


def callback_canvas(on_success: Any, on_failure: Any) -> dict[str, Any]:
    """Return the canvas that calls the caller's own tasks after a run; empty without such tasks.

    Raises:
        ValueError: an argument is not a signature.
    """
    given = {"on_success": on_success, "on_failure": on_failure}
    for name, callback in given.items():
        if callback is not None and not isinstance(callback, Signature):
            raise ValueError(f"{name} must be a Celery signature, such as parse.s(), or None")
    canvas = {"link": on_success, "link_error": on_failure}
    return {name: callback for name, callback in canvas.items() if callback is not None}
