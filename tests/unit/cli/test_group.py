"""Test what all commands share: characters that a terminal lacks, and closed pipes."""

from __future__ import annotations

import io
import os

import click
import pytest
from click.testing import CliRunner

from scrape_do_celery.cli.group import CommandGroup


def test_characters_that_the_terminal_lacks_are_escaped(monkeypatch):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="strict")
    monkeypatch.setattr("sys.stdout", shown)
    group = CommandGroup("g", commands={"say": click.Command("say", callback=lambda: click.echo("sch\u00f6n \u2603"))})
    assert group.main(["say"], standalone_mode=False) is None
    assert shown.buffer.getvalue() == b"sch\xf6n \\u2603\n"
    assert shown.errors == "strict"


def test_closed_pipe_is_quiet(monkeypatch, capfd):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        group = CommandGroup("g", commands={"say": click.Command("say", callback=lambda: click.echo("text"))})
        monkeypatch.setattr("sys.stderr", io.StringIO())
        assert group.main(["say"], standalone_mode=False) == 141
        closed.write("the last flush of Python")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("variables", "is_colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colors_are_switched_off_by_the_usual_variables(monkeypatch, variables, is_colored):
    for name, value in {"TERM": "xterm", "NO_COLOR": "", **variables}.items():
        monkeypatch.setenv(name, value)
    group = CommandGroup("g", commands={"say": click.Command("say", callback=lambda: click.secho("ok", fg="green"))})
    assert ("\x1b" in CliRunner().invoke(group, ["say"], color=True).output) is is_colored
