"""Deliveries of webhooks in the lab: their requests, and the mutations of them.

A delivery is a `MutableResponse` whose bytes go to the receiver in place of a client. So the tables of wrong values and
the frames of answers apply to deliveries, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.wire import values
from tests.wire.http_layer import FRAMES
from tests.wire.messages import ApiRequest, MutableResponse
from tests.wire.mutation import Mutation
from tests.wire.mutations import FIELDS, add_field, on_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KIND = "delivery"
#: Bytes of a chunk in which a delivery reaches the receiver.
_CHUNK = 4_096
#: Frames that only an answer can have, or that a client of an answer sees in another way.
_ANSWERS_ONLY = (
    *("Date", "HTTP/1.0", "no reason", "interim", "until the", "no HTTP", "no answer", "cut in", "429,", "503,"),
    *("chunked, cut", "Retry-After", "cookies", "no Date"),
)


def make_delivery(job_id: str, task_id: str, task: dict[str, Any], headers: dict[str, str]) -> MutableResponse:
    """Return the delivery of a task, before any mutation."""
    request = ApiRequest(KIND, "POST", f"/{KIND}/{job_id}/{task_id}", {}, "", job_id, task_id)
    return MutableResponse(request, 200, task, [("Content-Type", "application/json"), *headers.items()])


def list_chunks(delivery: MutableResponse) -> Iterator[bytes]:
    """Return the body of a delivery in chunks. A cut body ends too soon."""
    body = delivery.make_body()
    sent = body[: delivery.cut_at(body)]
    for start in range(0, len(sent), _CHUNK):
        yield sent[start : start + _CHUNK]


def list_headers(delivery: MutableResponse) -> list[tuple[str, str]]:
    """Return the headers of a delivery, with its length and the label of its coding."""
    label = [("Content-Encoding", delivery.label)] if delivery.label else []
    length = [] if delivery.chunked else [("Content-Length", str(len(delivery.make_body())))]
    return [*delivery.headers, *label, *length]


def _change_headers(
    change: Callable[[list[tuple[str, str]]], list[tuple[str, str]]],
) -> Callable[[MutableResponse], None]:
    def apply(delivery: MutableResponse) -> None:
        delivery.headers = change(delivery.headers)

    return apply


def _change_secret(change: Callable[[str], list[str]]) -> Callable[[MutableResponse], None]:
    """Replace the value of each header that only the caller of the API sets."""

    def apply(delivery: MutableResponse) -> None:
        kept = [pair for pair in delivery.headers if pair[0] == "Content-Type"]
        secrets = [pair for pair in delivery.headers if pair[0] != "Content-Type"]
        delivery.headers = kept + [(name, other) for name, value in secrets for other in change(value)]

    return apply


def _replace_body(body: bytes) -> Callable[[MutableResponse], None]:
    def apply(delivery: MutableResponse) -> None:
        delivery.body, delivery.unreadable = body, True

    return apply


def _lose(delivery: MutableResponse) -> None:
    delivery.hang = True


def _send_twice(delivery: MutableResponse) -> None:
    delivery.copies = 2


#: Mutations that only a delivery has.
_SENDINGS: dict[str, Callable[[MutableResponse], None]] = {
    "lost": _lose,
    "twice": _send_twice,
    "no secret": _change_secret(lambda _: []),
    "wrong secret": _change_secret(lambda value: [value[::-1]]),
    "secret twice": _change_secret(lambda value: [value, value]),
    "secret in capitals": _change_secret(lambda value: [value.upper()]),
    "secret between spaces": _change_secret(lambda value: [f" {value} "]),
    "secret not ASCII": _change_secret(lambda value: [f"{value}\u00fc"]),
    "length is a lie": _change_headers(lambda headers: [*headers, ("Content-Length", "7")]),
    "length is no number": _change_headers(lambda headers: [*headers, ("Content-Length", "\u0661e9")]),
    "huge length": _change_headers(lambda headers: [("content-length", "9" * 400), *headers]),
    "empty body": _replace_body(b""),
    "body of HTML": _replace_body(b"<!doctype html><html><body>Maintenance</body></html>"),
    "body null": _replace_body(b"null"),
    "body of an error": _replace_body(b'{"Error": "gone", "Code": 410}'),
    "body of a job": _replace_body(b'{"JobID": "j", "Status": "success", "TaskIDs": ["t"], "Tasks": []}'),
    "body of many values": _replace_body(
        b'{"TaskID": "t", "JobID": "j", "Status": "success", "X": [' + b"{}," * 90_000 + b"0]}"
    ),
}


#: Scenarios with webhooks, and the fields whose mutations matter in them; all fields if None.
_PLACES: dict[str, tuple[str, ...] | None] = {
    "webhook hint": ("TaskID", "JobID", "Status", "URL", "Content", "EndTime"),
    "webhook content": None,
    "webhook calibrated": None,
    "webhook lost": ("TaskID", "JobID", "Status", "URL", "WebhookURL"),
}


def all_delivery_mutations() -> list[Mutation]:
    """Return each mutation of deliveries in each scenario once, in a fixed order."""
    return [
        mutation
        for scenario, fields in _PLACES.items()
        for mutation in delivery_mutations(scenario)
        if fields is None or mutation.field in {*fields, "sending"}
    ]


def delivery_mutations(scenario: str) -> Iterator[Mutation]:
    """Return each mutation of deliveries once."""
    for name, sort in FIELDS["task"].items():
        for what, change in values.changes(sort):
            for span in ("once", "ever"):
                yield Mutation(scenario, KIND, name, what, span, on_field(name, change), {"leaf": name, "sort": sort})
    for name, value in values.SURPLUS_FIELDS.items():
        yield Mutation(scenario, KIND, "surplus", name or "empty name", "ever", add_field(name, value))
    for what, (sort, apply) in FRAMES.items():
        if not what.startswith(_ANSWERS_ONLY):
            yield Mutation(scenario, KIND, "HTTP frame", what, "ever", apply, {"frame": sort})
    for what, apply in _SENDINGS.items():
        for span in ("once", "one", "ever"):
            yield Mutation(scenario, KIND, "sending", what, span, apply)
