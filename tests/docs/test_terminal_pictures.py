"""Test that the pictures of terminals show what the tutorial's commands print."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.docs.test_site import script

ROOT = Path(__file__).parents[2]
PLAY = script(ROOT / "docs" / "img" / "draw_terminal.py")
STEPS = list(PLAY.read_steps(PLAY.PAGE.read_text()))
PICTURED = [step for step in STEPS if step.picture]


def lines_of(path):
    """Return the lines of a picture, without indents."""
    rows = {}
    for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text"):
        rows.setdefault(float(element.get("y")), []).append((element.text or "").replace("\xa0", " "))
    return ["".join(rows[y]).strip() for y in sorted(rows)]


def test_the_tutorial_shows_each_picture_of_the_folder():
    named = {PLAY.file_of(step.picture, theme).name for step in PICTURED for theme in PLAY.THEMES}
    assert len(named) >= 10
    assert {path.name for path in PLAY.HERE.glob("terminal-*.svg")} == named


@pytest.mark.parametrize("step", PICTURED, ids=lambda step: step.picture)
def test_a_picture_shows_the_commands_of_its_block(step):
    light, dark = (lines_of(PLAY.file_of(step.picture, theme)) for theme in ("light", "dark"))
    assert light == dark
    typed = [f"$ {line}" for line in step.typed if line != PLAY.CTRL_C]
    shown = [re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "RUN_ID", line) for line in light]
    assert [line for line in shown if line.startswith("$ ")] == typed
    assert len(shown) > len(typed)


def test_pictures_load_nothing_from_other_hosts():
    for path in PLAY.HERE.glob("terminal-*.svg"):
        assert re.findall(r"\w+://[\w.]+", path.read_text().split("<defs>")[0]) == ["http://www.w3.org"], path


def test_pictures_have_a_text_for_readers_who_do_not_see_them():
    texts = re.findall(r'<img src="\.\./img/terminal-([a-z-]+)-light\.svg" alt="([^"]{20,})"', PLAY.PAGE.read_text())
    assert [name for name, _ in texts] == [step.picture for step in PICTURED]


def test_values_of_a_play_have_stable_ones_of_the_same_length():
    first, second = (PLAY.StableValues() for _ in range(2))
    one, other = b"0f8fad5b-d9cb-469f-a165-70867728950e", b"7c9e6679-7425-40de-944b-e07fc1f90ae7"
    assert first.replace(one) == second.replace(other)
    assert len(first.replace(one)) == len(one)
    assert first.replace(one) != first.replace(other)
    assert first.replace(b"at 2026-01-02T03:04:05Z m0:00:07\x1b") == b"at 2026-11-30T09:00:00Z m0:00:03\x1b"


@pytest.mark.long
def test_pictures_are_those_of_a_play():
    for path, text in PLAY.pictures().items():
        assert path.read_text() == text, "run: python docs/img/draw_terminal.py"
