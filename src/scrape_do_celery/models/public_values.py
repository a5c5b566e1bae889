"""The rule for the values of a request that others may see: in reprs, which logs and error trackers show.

A number, a switch and a listed word are shown. A URL shows its host, and any other text only that it is set.
A class names its texts that hold no secret, such as a country: these are shown, cut and without credentials.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel

from scrape_do_celery.outside_text import REDACTED, cut_text, redact_start, show_host, show_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class _Unquoted(str):
    """A text whose repr has no quotation marks."""

    __slots__ = ()
    __repr__ = str.__str__


_HIDDEN: Final = _Unquoted(REDACTED)


def public_fields(model: BaseModel, shown: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a request that are set, with the values that others may see.

    `shown` has the names of the texts that hold no secret.
    """
    for name, field in type(model).model_fields.items():
        # A model that is being made has some of its fields only.
        value = vars(model).get(name)
        if value is None or not field.repr:
            continue
        is_public = name in shown or (isinstance(value, str) and value in _listed_words(type(model), name))
        yield name, _shown_value(value, is_public=is_public)


def public_names(names: Iterable[str]) -> list[str]:
    """Return the names of fields that only the caller knows, in order."""
    return [_Unquoted(show_key(name)) for name in sorted(names)]


def short_text(text: str) -> str:
    """Return a text that holds no secret by its meaning: without credentials, and cut."""
    return cut_text(redact_start(text))


def public_url(url: Any) -> str:
    """Return the scheme and the host of a URL of http or https, and three stars for any other value."""
    is_url = isinstance(url, str) and url.lower().startswith(("http://", "https://"))
    return cut_text(show_host(url)) if is_url else _HIDDEN


def _shown_value(value: Any, *, is_public: bool) -> Any:
    if isinstance(value, str):
        return short_text(value) if is_public else public_url(value)
    if isinstance(value, list):
        # The actions show themselves by this rule.
        return [_shown_value(one, is_public=False) for one in value]
    return value if isinstance(value, bool | int | float | BaseModel) else _HIDDEN


@cache
def _listed_words(model: type[BaseModel], name: str) -> frozenset[Any]:
    """Return the words that the type of a field lists."""
    return frozenset(_words_of(model.model_fields[name].annotation))


def _words_of(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    else:
        for inner in get_args(hint):
            yield from _words_of(inner)
