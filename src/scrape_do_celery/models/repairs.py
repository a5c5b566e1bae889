"""The second reading of answers: a value that pydantic refused is read tolerantly, or takes its default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypedDict, TypeVar

from pydantic import AliasChoices, BaseModel, ValidationError

#: A field that took its default although the answer had a value: model and field, or `tasks[]` for a list item.
Default = tuple[str, str]
_defaults: Final[ContextVar[list[Default] | None]] = ContextVar("scrape_do_defaults", default=None)
_SHORT: Final[_ErrorOptions] = {"include_url": False, "include_context": False, "include_input": False}
Model = TypeVar("Model", bound=BaseModel)


class _ErrorOptions(TypedDict):
    include_url: bool
    include_context: bool
    include_input: bool


@dataclass(frozen=True, slots=True)
class FieldRepair:
    """The second reading of a value that pydantic refused.

    `value` reads the whole value, `item` reads each item of a list. Each raises `ValueError` for an unreadable value.
    Then the field takes its default, or the item is dropped.
    """

    value: Callable[[Any], Any]
    item: Callable[[Any], Any] | None = None


@contextmanager
def collect_defaults() -> Iterator[list[Default]]:
    """Collect `(model, field)` in the yielded list for each value in the context that cannot be read.

    If the value of a field cannot be read, the field takes its default. If an item of a list cannot be read, the item
    is dropped, and the entry is `(model, "field[]")`. Null and missing values make no entry.
    """
    found: list[Default] = []
    token = _defaults.set(found)
    try:
        yield found
    finally:
        _defaults.reset(token)


def read_tolerantly(cls: type[Model], data: Any, read: Callable[[Any], Model]) -> Model:
    """Return the model that `read` makes of `data`, with defaults for the values that it refuses.

    Raises:
        ValidationError: the value of a required field cannot be read.
    """
    found = _defaults.get()
    known = 0 if found is None else len(found)
    try:
        return read(data)
    except ValidationError as error:
        if not isinstance(data, Mapping):
            raise
        # Forget the entries of the first reading: the second reads the list items again, and would count them twice.
        if found is not None:
            del found[known:]
        mended, lost, dropped = _mend_data(cls, data, error)
    model = read(mended)
    if found is not None:
        found += [(cls.__name__, name) for name in lost]
    if dropped:
        model.__dict__["_dropped"] = dropped
    return model


@cache
def _field_spellings(cls: type[BaseModel]) -> dict[str, str]:
    """Return the field names of a model by each spelling that an answer or a caller may use."""
    found: dict[str, str] = {}
    for name, field in cls.model_fields.items():
        alias = field.validation_alias
        aliases = alias.choices if isinstance(alias, AliasChoices) else [alias]
        found |= {spelt: name for spelt in (name, *aliases) if isinstance(spelt, str)}
    return found


def _mend_data(
    cls: type[BaseModel], data: Mapping[str, Any], error: ValidationError
) -> tuple[dict[str, Any], list[str], int]:
    """Return readable `data`, the fields that lost a value, and the number of dropped list items and lists.

    Raises:
        ValidationError: the value of a required field cannot be read.
    """
    mended = dict(data)
    lost: list[str] = []
    dropped = 0
    for key in {str(problem["loc"][0]) for problem in error.errors(**_SHORT) if problem["loc"]}:
        name = _field_spellings(cls).get(key, "")
        field = cls.model_fields.get(name)
        repair = next((one for one in field.metadata if isinstance(one, FieldRepair)), None) if field else None
        if field is None or repair is None or key not in data:
            raise error
        try:
            if repair.item and isinstance(data[key], list):
                mended[key] = _readable_items(data[key], repair.item)
                bad = len(data[key]) - len(mended[key])
                lost += [f"{name}[]"] * bad
                dropped += bad
            else:
                mended[key] = repair.value(data[key])
        except ValueError:
            if field.is_required():
                raise error from None
            del mended[key]
            lost.append(name)
            dropped += repair.item is not None
    return mended, lost, dropped


def _readable_items(values: list[Any], read: Callable[[Any], Any]) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        with suppress(ValueError):
            kept.append(read(value))
    return kept
