"""Whom an answer is about: the job and the task that were asked for, or nobody."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from scrape_do_celery.models.base import WireModel, wire_name

if TYPE_CHECKING:
    from collections.abc import Callable

M = TypeVar("M", bound=WireModel)

LONGEST: Final = 200
_ID: Final = re.compile(rf"[!-~]{{1,{LONGEST}}}")


def is_id(text: Any) -> bool:
    """Whether `text` can be an id: printable ASCII without spaces, and no segment that a URL parser folds."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None and text not in {".", ".."}


def reader(model: type[M], **asked: str) -> Callable[[bytes], M]:
    """Reads a `model` that is about the ids in `asked`, by the names of their fields.

    A missing id means the id that was asked for. Another id, compared without letter case, makes the answer unreadable:
    its content would be stored under the wrong target.
    """

    def read(body: bytes) -> M:
        found = _read(model, body, asked)
        for field, identifier in asked.items():
            if getattr(found, field).lower() != identifier.lower():
                raise ValueError(f"it names another {wire_name(field)} than the one that was asked for")
        return found.model_copy(update=asked)

    return read


def told(model: type[M]) -> Callable[[bytes], M]:
    """Reads a `model` that has at least one of its fields.

    A gateway's `{}` must never be read as an empty job list, or as an account that takes the token again.
    """

    def read(body: bytes) -> M:
        found = model.model_validate_json(body)
        if not found.model_fields_set:
            raise ValueError("it has no field of the promised shape")
        return found

    return read


def _read(model: type[M], body: bytes, asked: dict[str, str]) -> M:
    try:
        found = model.model_validate_json(body)
    except ValidationError as error:
        data = _with_ids(body, asked)
        if data is None:
            raise error from None
        return model.model_validate(data)
    return found.model_copy(update={field: one for field, one in asked.items() if not getattr(found, field)})


def _with_ids(body: bytes, asked: dict[str, str]) -> dict[str, Any] | None:
    """The object with the ids that it lacks; None where it lacks none."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    # A gateway's `{"status": "ok"}` is not the API's word about the job that was asked for.
    if not isinstance(data, dict) or "Status" not in data:
        return None
    lacking = {wire_name(field): one for field, one in asked.items() if data.get(wire_name(field)) in (None, "")}
    return {**data, **lacking} if lacking else None
