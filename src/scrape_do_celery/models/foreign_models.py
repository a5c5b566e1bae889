"""Objects of other libraries in place of requests and their parts: their type, and the reading of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

from scrape_do_celery.outside_text import show_key

from .constructors import CheckedModel

_QUOTES: Final = "'\""


class ForeignModel(Protocol):
    """An object of another library's pydantic models, such as the requests of scrape-do-python.

    The package reads its fields under the API's names, and checks them as its own.
    """

    __pydantic_extra__: dict[str, Any] | None

    def model_dump(self, *, by_alias: bool | None = ..., exclude_none: bool = ...) -> dict[str, Any]:
        """Return the fields."""
        ...


def dump_foreign(data: Any, path: str = "") -> Any:
    """Return the fields of another library's pydantic model, under the API's names. Return other values unchanged.

    `path` is the place of the value, for messages.

    Raises:
        ValueError: a field is a secret, of which the model would only write asterisks.
    """
    if not isinstance(data, BaseModel) or isinstance(data, CheckedModel):
        return data
    plain = data.model_dump(by_alias=True, exclude_none=True)
    try:
        fields = data.model_dump(mode="json", by_alias=True, exclude_none=True)
    except ValueError:
        # An older pydantic writes no secret in a field without a type. Its error would not name the field.
        _refuse_masked(data, plain, to_jsonable_python(plain, fallback=lambda _: "*"), path)
        raise
    _refuse_masked(data, plain, fields, path)
    return fields


def _refuse_masked(data: BaseModel, plain: Any, written: Any, path: str) -> None:
    if secret := next(_masked_paths(plain, written, path), None):
        raise ValueError(
            f"{secret.lstrip('.')} of {type(data).__name__} is a secret of pydantic, which would be sent as asterisks; "
            "make the field a str, or give a dict with .get_secret_value()"
        )


def _masked_paths(value: Any, written: Any, path: str) -> Iterator[str]:
    """Yield the paths of secrets whose written form hides them."""
    if isinstance(value, SecretStr | SecretBytes | Secret):
        # A model may have a serializer that writes the secret itself. An empty secret has no asterisks.
        if isinstance(written, str) and written and not written.strip("*"):
            yield path
    elif isinstance(value, Mapping) and isinstance(written, Mapping):
        for key in value.keys() & written.keys():
            yield from _masked_paths(value[key], written[key], f"{path}.{show_key(key).strip(_QUOTES)}")
    elif isinstance(value, list | tuple) and isinstance(written, list):
        for position, (one, two) in enumerate(zip(value, written, strict=False)):
            yield from _masked_paths(one, two, f"{path}[{position}]")
