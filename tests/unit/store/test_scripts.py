"""Scripts: their headers, the names of their keys and arguments, their libraries and their size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import scrape_do_celery
from scrape_do_celery.store.retention import SCRIPT_CONSTANTS
from scrape_do_celery.store.scripts import load_scripts

LUA = Path(scrape_do_celery.__file__).parent / "store" / "lua"
SCRIPTS = sorted(path.stem for path in LUA.glob("*.lua"))
LIBRARIES = sorted(path.stem for path in (LUA / "lib").glob("*.lua"))
LONGEST_LINE = 110
#: Bytes of all scripts together. The server keeps them for good.
MAX_BYTES = 150_000

_HEADER = re.compile(r"\A--\[\[ (?P<summary>.+?)\n\]\]\n", re.DOTALL)
_KEY = re.compile(r"(\w+(?:\.\.\.)?)\s+(hash|zset|set|string|list|any)\b")
_DEFINITION = re.compile(r"^local (?:function )?([a-z]\w*)", re.MULTILINE)


@dataclass(frozen=True)
class Header:
    """The keys and arguments that a script takes. A name with `...` stands for any number of them."""

    keys: list[str]
    arguments: list[str]


def read_header(text: str) -> Header:
    """Return the header of a script."""
    found = _HEADER.match(text)
    assert found, "a script begins with a block comment"
    assert "Returns" in found["summary"], "the header says what the script returns"
    section, keys, arguments = "", [], ""
    for line in found["summary"].splitlines()[1:]:
        if match := re.match(r"  (KEYS|ARGV)  +(.*)", line):
            section, rest = match[1], match[2]
        elif line.startswith("        ") and section:
            rest = line.strip()
        else:
            section = ""
            continue
        if section == "KEYS":
            key = _KEY.match(rest)
            if key:
                keys.append(key[1])
        else:
            arguments += " " + rest
    bare = re.sub(r"\([^)]*\)", "", arguments)
    return Header(keys, [name.strip() for name in bare.split(",") if name.strip()])


def read_code(text: str) -> str:
    """Return a script without its header, its includes and its comments."""
    return re.sub(r"--[^\n]*", "", _HEADER.sub("", text)).strip()


@pytest.mark.parametrize("name", SCRIPTS)
def test_first_lines_name_each_key_and_argument(name):
    text = (LUA / f"{name}.lua").read_text()
    header, code = read_header(text), read_code(text)
    fixed = [key for key in header.keys if not key.endswith("...")]
    if fixed:
        names = ", ".join(f"{key}_key" for key in fixed)
        values = ", ".join(f"KEYS[{number}]" for number in range(1, len(fixed) + 1))
        assert f"local {names} = {values}" in code
    named = [argument for argument in header.arguments if not argument.endswith("...")]
    if named:
        pattern = r",\s*".join(named)
        assert re.search(rf"local {pattern} = (unpack\(ARGV(, 1, \d+)?\)|ARGV\[1\])", code), f"local {', '.join(named)}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_argument_is_read_by_number(name):
    code = read_code((LUA / f"{name}.lua").read_text())
    body = re.sub(r"local [\w,\s]+ = (KEYS\[\d+\](, KEYS\[\d+\])*|ARGV\[1\]\n|unpack\(ARGV\))", "", code)
    assert not re.findall(r"(?:ARGV|KEYS)\[\d+\]", body)


@pytest.mark.parametrize("name", [*SCRIPTS, *(f"lib/{library}" for library in LIBRARIES)])
def test_lines_are_short_and_durations_have_names(name):
    text = (LUA / f"{name}.lua").read_text()
    assert [line for line in text.splitlines() if len(line) > LONGEST_LINE] == []
    assert re.findall(r"\b\d{4,}\b", read_code(text)) == [], "a duration is a constant of store/retention.py"


@pytest.mark.parametrize("name", [*SCRIPTS, *(f"lib/{library}" for library in LIBRARIES)])
def test_includes_are_the_libraries_that_are_used(name):
    text = (LUA / f"{name}.lua").read_text()
    homes = {
        function: library
        for library in LIBRARIES
        for function in _DEFINITION.findall(re.sub(r"(?m)^ +.*", "", (LUA / "lib" / f"{library}.lua").read_text()))
    }
    code = re.sub(r"'[^'\n]*'", "", read_code(text))
    used = {homes[word] for word in re.findall(r"(?<![\w.:])([a-z]\w*)\(", code) if word in homes}
    own = {name.removeprefix("lib/")} if name.startswith("lib/") else set()
    assert re.findall(r"^--- @include lib/(\w+)$", text, re.MULTILINE) == sorted(used - own)


def test_scripts_are_small():
    assert sum(map(len, load_scripts().values())) < MAX_BYTES


def test_constants_stand_before_the_scripts_that_name_them():
    texts = load_scripts()
    for name, value in SCRIPT_CONSTANTS.items():
        users = [text for text in texts.values() if re.search(rf"\b{name}\b", text)]
        assert users, f"{name} is used by no script"
        assert all(text.index(f"local {name} = {value}\n") < text.rindex(name) for text in users)
