"""Check that no old word is left. `old_words.txt` has the words; the changelog may name them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = Path(__file__).parent / "old_words.txt"
AREAS = ("src", "tests", "docs", "config", "tasks", "worker", "benchmarks", "examples", ".ci")
TOP = ("README.md", "CONTRIBUTING.md", "Makefile", "docker-compose.yml", "pyproject.toml")
SUFFIXES = {".py", ".lua", ".md", ".yml", ".yaml", ".json", ".toml", ".conf", ".example", ".sh", ".txt", ".html", ""}
#: Texts of other authors, and the list itself.
LEFT_OUT = ("tests/data/*", "tests/docs/old_words.txt", "*/__pycache__/*", "*/output/*")

#: Separators between the words of a phrase: a space, an underscore, a hyphen, or the end of a comment's line.
_BETWEEN = r"[\s_#*-]+"
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_")


@dataclass(frozen=True)
class OldWord:
    """A word that has a new name, and globs of the places in which it is an ordinary word."""

    text: str
    places: tuple[str, ...] = ()

    @classmethod
    def parse(cls, line):
        text, _, places = line.partition(" | ")
        return cls(text.strip(), tuple(each.strip() for each in places.split(",") if each.strip()))

    @property
    def pattern(self):
        return re.compile(rf"\b(?:{_BETWEEN.join(re.split(r'[ _]+', self.text))})\b", re.IGNORECASE)

    def lines_in(self, path, text):
        """List the numbers of lines that have the word. 0 stands for the file's name."""
        if any(fnmatch(path, place) for place in self.places):
            return []
        found = [0] if self.pattern.search(split_words(path)) else []
        text = split_words(text)
        return found + [text.count("\n", 0, hit.start()) + 1 for hit in self.pattern.finditer(text)]


@cache
def split_words(text):
    """Split identifiers at underscores and camel case, so that each of their words is found. Lines stay as they are."""
    return _HUMP.sub(" ", text)


def read_words(text):
    lines = (line.strip() for line in text.splitlines())
    return [OldWord.parse(line) for line in lines if line and not line.startswith("#")]


@cache
def texts():
    """Return all texts of the repository by their path."""
    paths = [path for area in AREAS for path in sorted((ROOT / area).rglob("*"))] + [ROOT / name for name in TOP]
    found = {}
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and path.suffix in SUFFIXES and not any(fnmatch(name, each) for each in LEFT_OUT):
            found[name] = path.read_text(errors="replace")
    return found


def places_of(word, files):
    return [f"{path}:{line}" for path, text in files.items() for line in word.lines_in(path, text)]


def test_no_old_word_is_left():
    found = {word.text: places for word in read_words(WORDS.read_text()) if (places := places_of(word, texts()))}
    some = "\n".join(f"{word}: {len(places)}, such as {', '.join(places[:5])}" for word, places in found.items())
    assert not found, f"words with a new name (docs/glossary.md):\n{some}"


def test_texts_of_every_kind_are_read():
    names = texts().keys()
    assert {Path(name).suffix for name in names} >= {".py", ".lua", ".md", ".yml", ".json"}
    assert {"README.md", "docs/glossary.md"} <= names
    assert "CHANGELOG.md" not in names
    assert len([name for name in names if name.startswith("src/")]) > 200


PLANTED = {
    "identifier in Python": ("src/a.py", "def ring_gong_now(): ...\n"),
    "class in Python": ("src/a.py", "class GongRinger: ...\n"),
    "constant in Python": ("src/a.py", "MAX_GONG = 3\n"),
    "string in Python": ("src/a.py", 'fields = {"gong": 1}\n'),
    "docstring in Python": ("src/a.py", '"""Ring the gong."""\n'),
    "field in Lua": ("src/a.lua", "redis.call('HSET', KEYS[1], 'gong', t)\n"),
    "comment in Lua": ("src/a.lua", "-- The gong is lost.\n"),
    "prose in Markdown": ("docs/a.md", "The gong, which is lost.\n"),
    "code in Markdown": ("docs/a.md", "`SCRAPE_DO_GONG`\n"),
    "key in YAML": ("config/a.yml", "max_gong: 3\n"),
    "metric in YAML": ("config/a.yml", "expr: scrape_do_gong > 1\n"),
    "name of a file": ("src/gong.py", "\n"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_word_is_found(kind):
    path, text = PLANTED[kind]
    line = 0 if kind == "name of a file" else 3
    assert places_of(OldWord("gong"), {path: f"first line\n\n{text}"}) == [f"{path}:{line}"]


@pytest.mark.parametrize("text", ["gongs", "Hugong", "go ng", "dungong_eon", "ringer"])
def test_other_words_are_not_found(text):
    assert places_of(OldWord("gong"), {"src/a.py": text}) == []


@pytest.mark.parametrize("text", ["max_gongs", "MaxGongs", "max gong", "MAX-GONGS", "# of max\n# gongs that"])
def test_phrase_is_found_in_each_spelling(text):
    assert places_of(OldWord("max gongs?"), {"src/a.py": text}) == ["src/a.py:1"]


def test_list_has_comments_and_ordinary_places():
    words = read_words("# a comment\n\ngong | docs/a.md, tests/*\nmax gongs?\n")
    assert words == [OldWord("gong", ("docs/a.md", "tests/*")), OldWord("max gongs?")]
    files = dict.fromkeys(("docs/a.md", "tests/unit/test_a.py", "docs/b.md"), "gong")
    assert places_of(words[0], files) == ["docs/b.md:1"]
