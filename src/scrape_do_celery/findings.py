"""The findings of checks: a level and a sentence."""

from __future__ import annotations

from typing import NamedTuple

OK, WARNING, WRONG = "ok", "warning", "wrong"


class Finding(NamedTuple):
    """A level and a sentence. An empty level marks mere information."""

    level: str
    text: str
