"""Targets with data of the caller. The data comes back with the page, and is never sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NotRequired, TypeAlias, TypedDict

from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import REDACTED, show_key

from .constructors import CheckedConstructor
from .public_values import public_url
from .sendable import join_faults, why_no_json

__all__ = ["MAX_META_BYTES", "Target", "TargetFields", "TargetInput"]

#: Bytes of the JSON of one `meta` at most.
MAX_META_BYTES: Final = 1024
_FIELDS: Final = ("url", "meta")


@dataclass(frozen=True, slots=True, repr=False)
class Target(metaclass=CheckedConstructor):
    """A URL with data of the caller, for the functions that start a run.

    The data comes back as `meta` of the URL's task. The package never sends it to Scrape.do, and keeps it out of
    messages, logs and reprs. The run's record holds the data, encrypted if a key is set.
    """

    #: an absolute http or https URL
    url: str
    #: JSON data of at most 1,024 bytes as compact UTF-8. The target holds a copy. Later changes, also of the copy, are
    #: not sent. A fault raises when the run starts.
    meta: Any = None
    # The JSON text of the data, and why the data are refused. Both are decided once: data that changed after the check
    # would be sent unchecked.
    _text: str = field(init=False, compare=False)
    _fault: str | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        fault = why_no_json(self.meta, "meta")
        text = "null" if fault else _compact_json(self.meta)
        object.__setattr__(self, "_text", text)
        object.__setattr__(self, "_fault", fault or _why_too_large(text))
        if isinstance(self.meta, Mapping | list) and not fault:
            object.__setattr__(self, "meta", json.loads(text))

    def __repr__(self) -> str:
        return f"Target({public_url(self.url)!r}{'' if self.meta is None else f', meta={REDACTED}'})"

    def __json__(self) -> Any:
        """Return the object that stands for the target in JSON. Celery's serializer calls this method.

        Raises:
            ValueError: the data are refused. Celery's serializer would write some of them as other data.
        """
        if self._fault:
            raise ValueError(f"Target.{self._fault}")
        return {"url": self.url, "meta": json.loads(self._text)}


class TargetFields(TypedDict):
    """A `Target` as a JSON object, for callers that have only JSON."""

    url: str
    meta: NotRequired[Any]


#: An input of the functions that start a run: a URL, or a URL with data of the caller.
TargetInput: TypeAlias = str | Target | TargetFields


def split_targets(inputs: Sequence[Any]) -> tuple[list[Any], tuple[str | None, ...] | None]:
    """Return the URLs of the inputs, and the JSON text of each `meta`; None for the texts if no input has one.

    A value that is neither a target nor an object is taken for a URL, which the request checks.

    Raises:
        ValueError: an object or a `meta` is wrong. The message names the position and no value.
    """
    if set(map(type, inputs)) <= {str}:
        return list(inputs), None
    urls: list[Any] = []
    texts: list[str | None] = []
    faults: list[str] = []
    for position, one in enumerate(inputs):
        url, text, fault = _read_input(one, f"targets[{position}]")
        urls.append(url)
        texts.append(text)
        faults += [fault] if fault else []
    if faults:
        raise ValueError(join_faults(faults))
    return urls, tuple(texts) if any(text is not None for text in texts) else None


def why_no_meta(target: Target) -> str | None:
    """Return why the data of a target is refused; None for good data."""
    return target._fault  # noqa: SLF001 (this module made it)


def _read_input(one: Any, name: str) -> tuple[Any, str | None, str | None]:
    """Return the URL of an input, the JSON text of its `meta`, and its fault."""
    if isinstance(one, Mapping):
        unknown = next((key for key in one if key not in _FIELDS), None)
        if unknown is not None:
            return None, None, f"{name} has no field {show_key(unknown)}{suggest_name(str(unknown), _FIELDS)}"
        if "url" not in one:
            return None, None, f"{name} has no url"
        one = Target(one["url"], one.get("meta"))
    if not isinstance(one, Target):
        return one, None, None
    text, fault = one._text, one._fault  # noqa: SLF001 (this module made them)
    if fault:
        return one.url, None, f"{name}.{fault}"
    return one.url, None if text == "null" else text, None


def _why_too_large(text: str) -> str | None:
    size = len(text.encode())
    return None if size <= MAX_META_BYTES else f"meta has {size:,} bytes of JSON; use at most {MAX_META_BYTES:,}"


def _compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=dict)
