"""Rewrite the links of a Markdown text that lead out of a set of pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_PICTURE = re.compile(r"<picture>.*?</picture>\n*", re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\[\]]+)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def rewrite(text: str, address: Callable[[str], str | None]) -> str:
    """Replace the target of each relative link outside of code blocks.

    Args:
        text: the Markdown text.
        address: gives the new target for an old one. None turns the link into plain text and drops a picture.

    Returns:
        The text with new targets. Links that name a host stay.
    """

    def replace(link: re.Match[str]) -> str:
        mark, label, target = link.groups()
        new = address(target)
        if new is None:
            return "" if mark else label
        return f"{mark}[{label}]({new})"

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(replace, part) for part in parts)


def for_index(readme: str, repository: str | None) -> str:
    """Return the README for a package index, where relative links lead nowhere.

    Args:
        readme: the README as the repository shows it.
        repository: the URL of the repository. None if it has no public one: links become plain text.
    """
    pictureless = _PICTURE.sub("", readme)
    return rewrite(pictureless, lambda target: repository and f"{repository.rstrip('/')}/blob/main/{target}")
