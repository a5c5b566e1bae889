"""Constructors with true signatures, and with one kind of error for wrong arguments and wrong values."""

from __future__ import annotations

import inspect
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, ForwardRef, Union, Unpack, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import show_key

from .sendable import join_faults

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_KEYWORDS = inspect.Parameter.VAR_KEYWORD


class CheckedConstructor(type):
    """The metaclass of a class that refuses wrong arguments as it refuses wrong values: with pydantic's error.

    Python's own `TypeError` would pass an `except ValueError`, and would show an unknown keyword as it came.
    """

    if not TYPE_CHECKING:
        # Type checkers must read `__init__`, and not this method.

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            """Return an instance.

            Raises:
                ValueError: an argument is missing, unknown or wrong (pydantic's `ValidationError`).
            """
            try:
                return super().__call__(*args, **kwargs)
            except TypeError:
                if (faults := list(_call_faults(cls, args, kwargs))) == []:
                    raise
            raise _argument_error(cls, f"{join_faults(faults)}; the form is {show_form(cls)}")

    @property
    def __signature__(cls) -> inspect.Signature:
        return find_signature(cls)

    @__signature__.setter
    def __signature__(cls, _: Any) -> None:
        # Pydantic sets a signature with the API's names, which the constructors do not take.
        pass


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    # Type checkers make the constructors of pydantic's models themselves.
    class CheckedModel(BaseModel):
        """The base class of pydantic models with such constructors."""

else:

    class _CheckedModelConstructor(CheckedConstructor, type(BaseModel)):
        pass

    class CheckedModel(BaseModel, metaclass=_CheckedModelConstructor):
        """The base class of pydantic models with such constructors."""


@cache
def find_signature(cls: type) -> inspect.Signature:
    """Return the arguments of a constructor under Python's names. Fields stand in place of `**fields`."""
    init = cls.__init__  # type: ignore[misc]
    given = list(inspect.signature(init).parameters.values())[1:]
    types = _read_hints(init) | getattr(cls, "ARGUMENTS", {})
    named = [one.replace(annotation=types.get(one.name, one.annotation)) for one in given if one.kind is not _KEYWORDS]
    if len(named) < len(given) and issubclass(cls, BaseModel):
        named += _field_parameters(cls, types)
    return inspect.Signature(named)


def _read_hints(init: Any) -> dict[str, Any]:
    try:
        return get_type_hints(init)
    except NameError:
        # A user's class may name types that only type checkers import.
        return {}


def _field_parameters(cls: type[BaseModel], hints: Mapping[str, Any]) -> Iterator[inspect.Parameter]:
    """Return the fields of a model as keyword arguments: in the order of the class."""
    fields = cls.model_fields
    types = _unpacked_types(hints) or {name: _plain_type(field.annotation) for name, field in fields.items()}
    # The base class has the field `extra`, so that this field is the first one.
    order = [name for name in fields if name != "extra"] + ["extra"]
    for name in sorted(types, key=lambda name: order.index(name) if name in fields else -1):
        is_required = name in fields and fields[name].is_required()
        default = inspect.Parameter.empty if is_required else None
        yield inspect.Parameter(name, _KEYWORD, default=default, annotation=types[name])


def _unpacked_types(hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the types of the fields in `**fields: Unpack[...]`; empty for a constructor without such fields."""
    unpacked = [get_args(hint)[0] for hint in hints.values() if get_origin(hint) is Unpack]
    return {
        name: hint.__forward_arg__ if isinstance(hint, ForwardRef) else hint
        for one in unpacked
        for name, hint in one.__annotations__.items()
    }


def _plain_type(hint: Any) -> Any:
    """Return a type without the marks that only pydantic reads."""
    if get_origin(hint) is Annotated:
        return _plain_type(get_args(hint)[0])
    return reduce(or_, map(_plain_type, get_args(hint))) if get_origin(hint) in {Union, UnionType} else hint


def show_form(cls: type) -> str:
    """Return the form of a call, with the types of required arguments: `Click(selector: str, *, extra=None)`."""
    shown: list[str] = []
    for name, one in find_signature(cls).parameters.items():
        if one.kind is _KEYWORD and "*" not in shown:
            shown.append("*")
        kind = getattr(one.annotation, "__name__", one.annotation)
        required = f"{name}: {kind}" if isinstance(kind, str) else name
        shown.append(required if one.default is one.empty else f"{name}={one.default}")
    return f"{cls.__name__}({', '.join(shown)})"


def _call_faults(cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a constructor does not take these arguments."""
    parameters = find_signature(cls).parameters
    by_position = [name for name, one in parameters.items() if one.kind is not _KEYWORD]
    if len(args) > len(by_position):
        taken = f"only {' and '.join(by_position)}" if by_position else "none: name each field"
        yield f"{len(args)} argument{'s' * (len(args) > 1)} without a name, and {cls.__name__} takes {taken}"
    for name in by_position[: len(args)]:
        if name in kwargs:
            yield f"{name} is given twice"
    for name, one in parameters.items():
        if one.default is one.empty and name not in kwargs and name not in by_position[: len(args)]:
            yield f"{name} is missing"
    for key in kwargs:
        if key not in parameters:
            yield f"no field {show_key(key)}{suggest_name(key, parameters)}"


def _argument_error(cls: type, text: str) -> ValidationError:
    fault = PydanticCustomError("arguments", "{text}", {"text": text})
    line: Any = {"type": fault, "loc": (), "input": None}
    return ValidationError.from_exception_data(cls.__name__, [line], hide_input=True)
