"""Apply a mutation to the fields of an answer that a path names, and list the paths of an answer.

A path consists of the names on the wire: `Status`, `Tasks[].Status` (of each task), `Jobs[0].TaskIDs` (of the first
job), or `Scrape.do.Request-Cost`. `$` is the whole body.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scrape_do_sandbox.mutations import MISSING, MUTATIONS, NAME_MUTATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHOLE = "$"
MUTATION_NAMES = (*MUTATIONS, *NAME_MUTATIONS)
_INDEX = re.compile(r"\[(\d*)\]\.?")


def mutate(body: Any, mutation: str, path: str) -> Any:
    """Return a copy of the body with `mutation` applied at each place that `path` names.

    If the mutation removes the whole body, the result is `MISSING`.
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
    # A name may contain dots, so the longest name with which the path begins is meant.
    meant = max((name for name in part if _rest(path, name) is not None), key=len, default=None)
    if meant is None:
        return part
    rest = _rest(path, meant)
    if rest == "" and mutation in NAME_MUTATIONS:
        return {NAME_MUTATIONS[mutation](name) if name == meant else name: value for name, value in part.items()}
    changed = {**part, meant: _change(part[meant], rest or "", mutation)}
    return {name: value for name, value in changed.items() if value is not MISSING}


def _rest(path: str, name: str) -> str | None:
    """Return the rest of the path after `name`, or None if the path does not begin with this name."""
    if path == name:
        return ""
    rest = path.removeprefix(name) if path.startswith(name) else ""
    return (rest.removeprefix(".") if rest[0] in ".[" else None) if rest else None


def list_paths(body: Any, prefix: str = "") -> Iterator[str]:
    """List the paths of all fields in an answer, each once.

    A list contributes the path of its entries and the paths of the fields in them.
    """
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
