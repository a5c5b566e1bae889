"""The ids of jobs and tasks: their format, and their comparison."""

from __future__ import annotations

import re
from typing import Any, Final

#: Characters of an id at most.
MAX_ID: Final = 200
#: Visible ASCII. `.` and `..` are excluded, because in a path they name another resource.
ID_PATTERN: Final = r"^(?:\.{0,2}[!-\-/-~][!-~]*|\.{3}[!-~]*)$"
_ID: Final = re.compile(ID_PATTERN)
_NO_IDS: Final = frozenset({"", ".", ".."})
_ALL_VISIBLE: Final = re.compile(r"[!-~]*+")


def read_id(value: Any) -> str:
    """Return the id in `value`; a whole number stands for its digits.

    Raises:
        ValueError: `value` is not 1 to 200 visible ASCII characters, or is `.` or `..`.
    """
    text = str(value) if type(value) is int and 0 <= value <= 2**63 - 1 else value
    if not isinstance(text, str) or len(text) > MAX_ID or not _ID.fullmatch(text) or text.endswith("\n"):
        raise ValueError("an id must be 1 to 200 visible ASCII characters, and neither `.` nor `..`")
    return text


def same_id(first: str, second: str) -> bool:
    """Return whether two ids name the same job or task; the comparison ignores case."""
    return first == second or first.lower() == second.lower()


def unique_ids(ids: list[str]) -> list[str]:
    """Return `ids` in their order, each once, in its first spelling."""
    if len(set(map(str.lower, ids))) == len(ids):
        return ids
    found: dict[str, str] = {}
    for task_id in ids:
        found.setdefault(task_id.lower(), task_id)
    return list(found.values())


def check_ids(ids: list[str]) -> None:
    """Refuse a list that holds a bad id.

    Raises:
        ValueError: `read_id` would refuse an item of the list.
    """
    # Check all ids at once for speed: a job has up to 1,000 ids, and is read often.
    text = "".join(ids)
    if not _ALL_VISIBLE.fullmatch(text) or not _NO_IDS.isdisjoint(ids):
        raise ValueError("the list has an id that is not 1 to 200 visible ASCII characters, or is `.` or `..`")
    if len(text) > MAX_ID and max(map(len, ids)) > MAX_ID:
        raise ValueError("the list has an id that is not 1 to 200 visible ASCII characters, or is `.` or `..`")
