"""Compare a task that a webhook delivered with the same task as the API gives it. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.errors import UnreadableContentError
from scrape_do_celery.models.wire import wire_name
from scrape_do_celery.rules.webhook_tokens import hide_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.models import TaskDetails

#: Fields that differ between two true answers: the ids have any case, times are those of the answer or may be written
#: with another precision, and the API writes about the call of the webhook after the call.
NOT_COMPARED: Final = frozenset(
    {
        *("task_id", "job_id", "start_time", "end_time", "update_time", "expires_at", "trace_id"),
        *("webhook_url", "webhook_status", "webhook_request_time"),
        # Only this package sets these.
        *("gone", "too_large", "unreadable", "given_up", "return_json", "meta"),
        # The content is compared as bytes, and of the telemetry the parts that tell about the page.
        *("base64_encoded_content", "scrape_do_metadata"),
    }
)
_TELEMETRY: Final = ("cost", "resolved_url", "initial_status_code")


def find_differences(delivered: TaskDetails, fetched: TaskDetails) -> list[str]:
    """Return the names of the fields by which a delivered task differs from the fetched one, in the API's spelling.

    Each field counts that tells what was bought: state, content, headers with their cookies, cost, and reasons. A field
    that is new in the model counts too.
    """
    one, other = _read_bought(hide_tokens(delivered)), _read_bought(hide_tokens(fetched))
    return [name for name in one if one[name] != other[name]]


def _read_bought(task: TaskDetails) -> dict[str, Any]:
    found = {wire_name(name): getattr(task, name) for name in type(task).model_fields if name not in NOT_COMPARED}
    found |= {wire_name(name): getattr(task, name) for name in _TELEMETRY}
    return {**found, "Content": _read_content(task), "ResponseHeaders": _read_headers(task.response_headers)}


def _read_content(task: TaskDetails) -> bytes | str:
    try:
        return task.decoded_content() or b""
    except UnreadableContentError:
        return task.content or ""


def _read_headers(headers: Mapping[str, str | list[str]]) -> dict[str, list[str]]:
    """Return headers with their names in lower case. Some servers write a single value as a list."""
    found: dict[str, list[str]] = {}
    for name, value in headers.items():
        found.setdefault(name.strip().lower(), []).extend([value] if isinstance(value, str) else value)
    return found
