"""Applies a mutation to the fields of an answer that a path names, and lists the paths of an answer.

A path has the names as they are on the wire: ``Status``, ``Tasks[].Status`` (of each task), ``Jobs[0].TaskIDs`` (of the
first job), ``Scrape.do.Request-Cost``, or ``$`` for the whole body.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scrape_do_celery.sandbox.mutations import MISSING, MUTATIONS, NAME_MUTATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHOLE = "$"
MUTATION_NAMES = (*MUTATIONS, *NAME_MUTATIONS)
_INDEX = re.compile(r"\[(\d*)\]\.?")


def mutate(body: Any, mutation: str, path: str) -> Any:
    """The body with ``mutation`` at each place that ``path`` names; the body itself stays as it was.

    ``MISSING`` comes back where the whole body is left out.
    """
    if path == WHOLE:
        return MUTATIONS[mutation](body) if mutation in MUTATIONS else body
    return _change(body, path, mutation)


def _change(value: Any, path: str, mutation: str) -> Any:
    if not path:
        return MUTATIONS[mutation](value) if mutation in MUTATIONS else value
    index = _INDEX.match(path)
    if index and isinstance(value, list):
        return _entries(value, index[1], lambda entry: _change(entry, path[index.end() :], mutation))
    return _fields(value, path, mutation) if isinstance(value, dict) else value


def _entries(entries: list[Any], index: str, change: Callable[[Any], Any]) -> list[Any]:
    changed = [change(entry) if index in {"", str(place)} else entry for place, entry in enumerate(entries)]
    return [entry for entry in changed if entry is not MISSING]


def _fields(part: dict[str, Any], path: str, mutation: str) -> dict[str, Any]:
    # Names contain dots themselves: the longest name that the path begins with is meant.
    meant = max((name for name in part if _rest(path, name) is not None), key=len, default=None)
    if meant is None:
        return part
    rest = _rest(path, meant)
    if rest == "" and mutation in NAME_MUTATIONS:
        return {NAME_MUTATIONS[mutation](name) if name == meant else name: value for name, value in part.items()}
    changed = {**part, meant: _change(part[meant], rest or "", mutation)}
    return {name: value for name, value in changed.items() if value is not MISSING}


def _rest(path: str, name: str) -> str | None:
    """Where the path goes on after ``name``; None when it does not begin with it."""
    if path == name:
        return ""
    rest = path.removeprefix(name) if path.startswith(name) else ""
    return (rest.removeprefix(".") if rest[0] in ".[" else None) if rest else None


def list_paths(body: Any, prefix: str = "") -> Iterator[str]:
    """The paths of all fields in an answer, each once; of a list the path of its entries and of the fields in them."""
    seen: set[str] = set()
    for path in _paths(body, prefix):
        if path not in seen:
            seen.add(path)
            yield path


def _paths(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            path = f"{prefix}.{name}" if prefix else name
            yield path
            yield from _paths(inner, path)
    elif isinstance(value, list) and value:
        yield f"{prefix}[]"
        for entry in value:
            yield from _paths(entry, f"{prefix}[]")
