"""Suggest the known name that the writer of a wrong name may mean."""

from __future__ import annotations

import difflib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Letters of a name that is compared. A longer name is no misspelling.
_LONGEST: Final = 100
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def suggest_name(name: str, known: Iterable[str], prefix: str = "", *, others: Mapping[str, str] = _NONE) -> str:
    """Return the end of a message that suggests the known name nearest to `name`; empty without a near name.

    Args:
        name: the wrong name, in any case.
        known: the known names.
        prefix: the text before the suggested name.
        others: other spellings and words, each with the known name that it stands for.
    """
    if len(name) > _LONGEST:
        return ""
    names = {one.lower(): one for one in known} | {word.lower(): one for word, one in others.items()}
    close = difflib.get_close_matches(name.lower(), names, n=1)
    return f"; did you mean {prefix}{names[close[0]]}?" if close else ""
