"""All mutations of answers: fields, HTTP, and pairs of them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from tests.wire import values
from tests.wire.http_layer import http_mutations
from tests.wire.mutation import Mutation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.wire.messages import MutableResponse

#: Kind of answer -> field -> kind of the field.
FIELDS: dict[str, dict[str, str]] = {
    "create": {"JobID": "id", "TaskIDs": "ids", "Message": "text"},
    "job": {
        "JobID": "id",
        "TaskIDs": "ids",
        "Status": "status",
        "StartTime": "time",
        "EndTime": "time",
        "AcquiredConcurrency": "number",
        "LimitConcurrency": "number",
        "Canceled": "flag",
        "Tasks": "entries",
    },
    "task": {
        "TaskID": "id",
        "JobID": "id",
        "URL": "url",
        "Status": "status",
        "StartTime": "time",
        "EndTime": "time",
        "UpdateTime": "time",
        "ExpiresAt": "time",
        "Base64EncodedContent": "flag",
        "StatusCode": "number",
        "ResponseHeaders": "map",
        "Scrape.do": "map",
        "Content": "content",
        "ErrorMessage": "text",
        "WebhookURL": "url",
        "WebhookStatus": "text",
        "WebhookRequestTime": "time",
        "TraceID": "text",
    },
    "list": {
        "Jobs": "entries",
        "TotalCount": "number",
        "PageSize": "number",
        "PageNumber": "number",
        "TotalPages": "number",
    },
    "me": {
        "TotalConcurrency": "number",
        "FreeConcurrency": "number",
        "ActiveJobs": "number",
        "AvaliableCredits": "number",
    },
}
FIELDS["delete"] = FIELDS["job"]
ENTRY = {"TaskID": "id", "URL": "url", "Status": "status"}
LISTED = {name: FIELDS["job"][name] for name in ("JobID", "TaskIDs", "Status", "StartTime", "EndTime")}
ERRORS = {"Error": "text", "Code": "number"}

#: Scenario in which a kind of answer matters, the kind, and the spans of its mutations.
_PLACES: list[tuple[str, str, tuple[str, ...]]] = [
    ("plain", "create", ("ever",)),
    ("plain", "job", ("once", "ever")),
    ("plain", "task", ("once", "one", "ever")),
    ("list", "list", ("ever",)),
    ("lost", "list", ("once", "ever")),
    ("refused", "me", ("ever",)),
    ("cancel", "delete", ("ever",)),
    ("plugin", "create", ("ever",)),
    ("plugin", "job", ("ever",)),
    ("plugin", "task", ("ever",)),
]


def add_field(name: str, value: Any) -> Callable[[MutableResponse], None]:
    """Return the change that adds a field."""

    def apply(response: MutableResponse) -> None:
        if isinstance(response.data, dict):
            response.data[name] = value

    return apply


def on_field(name: str, change: values.FieldChange) -> Callable[[MutableResponse], None]:
    """Return the change of a field, if an answer has it."""

    def apply(response: MutableResponse) -> None:
        if isinstance(response.data, dict) and name in response.data:
            change(response.data, name)

    return apply


def _on_entry(holder: str, name: str, change: values.FieldChange, *, every: bool) -> Callable[[MutableResponse], None]:
    def apply(response: MutableResponse) -> None:
        entries = response.data.get(holder) if isinstance(response.data, dict) else None
        # Another mutation of a pair may have left no list, or no object in it.
        for entry in entries[: None if every else 1] if isinstance(entries, list) else ():
            if isinstance(entry, dict) and name in entry:
                change(entry, name)

    return apply


def _fields() -> Iterator[Mutation]:
    for scenario, kind, spans in _PLACES:
        for name, sort in FIELDS[kind].items():
            for what, change in values.changes(sort):
                for span in spans:
                    yield Mutation(
                        scenario, kind, name, what, span, on_field(name, change), {"leaf": name, "sort": sort}
                    )
        for name, value in values.SURPLUS_FIELDS.items():
            yield Mutation(scenario, kind, "surplus", name or "empty name", "ever", add_field(name, value))


def _entries() -> Iterator[Mutation]:
    places = [
        ("plain", "job", "Tasks", ENTRY),
        ("lost", "job", "Tasks", ENTRY),
        ("list", "list", "Jobs", LISTED),
        ("lost", "list", "Jobs", LISTED),
        ("lost, full list", "list", "Jobs", {"Tasks": "entries"}),
    ]
    for scenario, kind, holder, fields in places:
        for name, sort in fields.items():
            for what, change in values.changes(sort):
                for each in ("[0]", "[*]"):
                    apply = _on_entry(holder, name, change, every=each == "[*]")
                    facts = {"leaf": name, "sort": sort, "entry": True}
                    yield Mutation(scenario, kind, f"{holder}{each}.{name}", what, "ever", apply, facts)


def _errors() -> Iterator[Mutation]:
    """Return mutations of error bodies: 404, 410 and 500 for a job or a task."""
    for kind in ("job", "task"):
        for status in (404, 410, 500):
            for name, sort in ERRORS.items():
                for what, change in values.changes(sort):
                    for span in ("window", "ever"):

                        def apply(
                            response: MutableResponse, name: str = name, change: Any = change, status: int = status
                        ) -> None:
                            response.status, response.data = status, {"Error": "not to be had", "Code": status}
                            change(response.data, name)

                        body: dict[str, Any] = {"Error": "not to be had", "Code": status}
                        change(body, name)
                        facts = {"status": status, "error body": body}
                        yield Mutation("plain", kind, f"{status}.{name}", what, span, apply, facts)


def all_mutations() -> list[Mutation]:
    """Return each mutation once, in a fixed order."""
    return [*_fields(), *_entries(), *_errors(), *http_mutations()]


def random_pairs(found: list[Mutation], count: int, seed: int) -> list[tuple[Mutation, Mutation]]:
    """Return random pairs that can meet in one play."""
    chance, made = random.Random(f"wire {seed}"), []
    by_scenario: dict[str, list[Mutation]] = {}
    for one in found:
        by_scenario.setdefault(one.scenario, []).append(one)
    while len(made) < count:
        first = chance.choice(found)
        second = chance.choice(by_scenario[first.scenario])
        if (first.kind, first.field) != (second.kind, second.field):
            made.append((first, second))
    return made
