"""Collect the shell commands that the pages document."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: A text in a line is a command if it begins with one of these and goes on.
PROGRAMS = (
    *("scrape-do", "celery", "flask", "django-admin", "manage.py", "python", "python3", ".venv/bin/python", "uvicorn"),
    *("make", "pip", "uv", "docker", "kubectl", "helm", "cp", "curl", "git", "redis-cli", "valkey-cli", "apt"),
)

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_TYPED = re.compile(r"^ *\$ (.*(?:(?<=\\)\n.*)*)\n?((?:^(?! *\$ ).*\n?)*)", re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_ASSIGNED = re.compile(r"\w+=.*", re.DOTALL)
#: Commands that carry another command out, such as in a container.
_CARRIERS = (
    ("docker", "compose", "exec", ".+", "entrypoint"),
    ("docker", "compose", "exec", ".+"),
    ("kubectl", "exec", ".+", "--"),
)


class DocumentedCommand(NamedTuple):
    """A command of a page."""

    page: str
    text: str
    #: the command stands in a block, as a line that a reader types
    is_typed: bool
    #: the lines of the block that the command prints
    output: str = ""

    @property
    def words(self) -> list[str]:
        """The words of the command that is carried out in the end, without variables before it."""
        words = shlex.split(self.text, comments=True)
        while words and _ASSIGNED.fullmatch(words[0]):
            words = words[1:]
        for carrier in _CARRIERS:
            if len(words) > len(carrier) and all(map(re.fullmatch, carrier, words)):
                return words[len(carrier) :]
        return words

    @property
    def scrape_do(self) -> list[str] | None:
        """The words after `scrape-do`, in each of its forms; None for another command."""
        words = self.words
        names = {"scrape-do"} if words[:1] == ["scrape-do"] else set()
        names |= {"scrape-do"} if words[:1] in (["celery"], ["flask"]) else set()
        names |= {"scrape_do"} if "manage.py" in words[:2] else set()
        found = [n for n, word in enumerate(words) if word in names]
        return words[found[0] + 1 :] if found else None


def documented_commands() -> list[DocumentedCommand]:
    """Return the commands of all pages, in their order."""
    return [one for page in PAGES for one in commands_of(page)]


def commands_of(page: Path) -> Iterator[DocumentedCommand]:
    """Yield the commands of the blocks of a page, and then those in its lines."""
    name, text = str(page.relative_to(ROOT)), page.read_text()
    for _, language, block in _FENCE.findall(text):
        if language == "console":
            for line, output in _TYPED.findall(block):
                yield DocumentedCommand(name, line, is_typed=True, output=output)
    for span in _INLINE.findall(_FENCE.sub("", text)):
        line = re.sub(r"\s+", " ", span).replace("\\|", "|")
        if line.partition(" ")[0] in PROGRAMS and " " in line:
            yield DocumentedCommand(name, line, is_typed=False)


def languages() -> set[str]:
    """Return the languages of all blocks."""
    return {language for page in PAGES for _, language, _ in _FENCE.findall(page.read_text())}


def untyped_blocks() -> list[str]:
    """Return the blocks that look like commands, and are in another language than `console`."""
    blocks = [(language, block) for page in PAGES for _, language, block in _FENCE.findall(page.read_text())]
    return [block for language, block in blocks if language != "console" and _TYPED.search(block)]
