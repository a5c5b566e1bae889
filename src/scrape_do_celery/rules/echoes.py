"""Match the answers of a plugin with its parameter sets, by the parameters that an answer repeats.

The order of the tasks of a plugin's job is not documented. If the wrong set were bought again, the user would pay twice
for one answer and never get the other one. So a match counts only if no other set could have the same answer.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.models import parse_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: The key of an answer that holds its parameters. Answers of `google/search` are known to have it.
_ECHO: Final = "search_parameters"


def read_echo(page: bytes | None) -> dict[str, str] | None:
    """Return the parameters that an answer repeats, in a form for comparison; None if it repeats none."""
    try:
        answer = parse_answer(page or b"")
    except ValueError:
        return None
    echo = answer.get(_ECHO) if isinstance(answer, dict) else None
    if not isinstance(echo, dict):
        return None
    return {name: _loose_form(value) for name, value in echo.items()}


def match_answers(sets: Sequence[Mapping[str, Any]], echoes: Iterable[dict[str, str] | None]) -> list[int] | None:
    """Return the index of each answer's set, by the echoes of the answers; None if they do not prove all of them.

    An answer belongs to a set if it repeats at least one of its parameters, and contradicts each other set: it repeats
    one of that set's parameters with another value. A set that only lacks the parameters may still be the right one,
    because a server may repeat its defaults. No set may get more answers than it asked for.
    """
    equal_sets: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(sets):
        equal_sets[json.dumps(one, sort_keys=True)].append(index)
    # The first of equal sets stands for all of them. Each answer takes the next one.
    free = {indexes[0]: indexes for indexes in equal_sets.values()}
    first_sets = list(free)
    holders = _index_values(sets, first_sets)
    found: list[int] = []
    for echo in echoes:
        match = _find_only_match(holders, first_sets, echo or {})
        if match is None or not free[match]:
            return None
        found.append(free[match].pop(0))
    return found


def _index_values(sets: Sequence[Mapping[str, Any]], indexes: list[int]) -> dict[str, dict[str, set[int]]]:
    """Return the sets that have a parameter, by its name and its value."""
    found: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for index in indexes:
        for name, value in sets[index].items():
            found[name][_loose_form(value)].add(index)
    return found


def is_contrary(one: Mapping[str, Any], echo: Mapping[str, str]) -> bool:
    """Return whether an answer repeats a parameter of a set with another value."""
    return any(_loose_form(value) != echo.get(name, _loose_form(value)) for name, value in one.items())


def _find_only_match(
    holders: Mapping[str, Mapping[str, set[int]]], sets: list[int], echo: Mapping[str, str]
) -> int | None:
    """Return the only set that may have the answer; None if there are more, or if nothing speaks for it."""
    alike: set[int] = set()
    unlike: set[int] = set()
    for name, value in echo.items():
        for held, indexes in holders.get(name, {}).items():
            if held == value:
                alike |= indexes
            else:
                unlike |= indexes
    possible = set(sets) - unlike
    return possible.pop() if len(possible) == 1 and possible <= alike else None


def _loose_form(value: Any) -> str:
    """Return one text for all spellings of a value that a server may use. Other spellings make no other set."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return " ".join(text.split()).casefold()
