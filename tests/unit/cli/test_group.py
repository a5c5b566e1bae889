"""Test what all commands share: characters that a terminal lacks, and closed pipes."""

from __future__ import annotations

import io
import os
import socket
import sys

import click
import pytest
from click.testing import CliRunner
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scrape_do_celery.cli import main
from scrape_do_celery.cli.filters import has_terminal
from scrape_do_celery.cli.group import CommandGroup
from scrape_do_celery.cli.output import print_rich_table
from scrape_do_celery.cli.progress import QuietView, choose_view
from scrape_do_celery.cli.sources import _read_lines
from scrape_do_celery.diagnostics import check_store
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.errors.base import advise_on_outage
from scrape_do_celery.rules.target_lines import TargetFileError
from scrape_do_celery.runs import AppContext


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


def test_port_in_use_is_an_error_that_names_the_option():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = CliRunner().invoke(main, ["sandbox", "--port", str(taken.getsockname()[1])])
    assert answer.exit_code == 1
    assert answer.stderr.rstrip().endswith("end that process, or choose another port by --port")


def test_unreachable_store_is_an_error_that_says_what_to_do(monkeypatch):
    advice = "start the server, or correct SCRAPE_DO_REDIS_URL (for trials, `scrape-do redis` starts a server)"
    monkeypatch.setenv("SCRAPE_DO_REDIS_URL", "redis://127.0.0.1:1/0")
    answer = CliRunner().invoke(main, ["list"])
    assert (answer.exit_code, answer.stderr.rstrip().endswith(advice)) == (1, True)
    (finding,) = check_store(AppContext.for_app().store, "")
    assert finding.text.endswith(advice)


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (AuthenticationError("invalid username-password pair"), "; correct the user and the password in"),
        (RedisTimeoutError("no answer"), ""),
        (RedisConnectionError("Connection refused"), "; start the server"),
    ],
)
def test_advice_fits_the_cause_of_the_outage(cause, advice):
    error = StoreUnavailableError("the store at x: no")
    error.__cause__ = cause
    about = error.about_runs(["a"], may_be_written=False)
    about.__cause__ = error
    for one in (error, about):
        assert advise_on_outage(one).startswith(advice)
        assert bool(advise_on_outage(one)) is bool(advice)


def test_a_store_that_was_reached_needs_no_start():
    error = StoreUnavailableError("the store at x: reset")
    error.__cause__ = RedisConnectionError("reset")
    error.was_sent = True
    assert not advise_on_outage(error)


@pytest.mark.parametrize(
    ("variables", "is_colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colors_are_switched_off_by_the_usual_variables(monkeypatch, variables, is_colored):
    for name, value in {"TERM": "xterm", "NO_COLOR": "", **variables}.items():
        monkeypatch.setenv(name, value)
    group = CommandGroup("g", commands={"say": click.Command("say", callback=lambda: click.secho("ok", fg="green"))})
    assert ("\x1b" in CliRunner().invoke(group, ["say"], color=True).output) is is_colored


def test_closed_streams_are_no_terminals(monkeypatch):
    """A run is bought before its progress is shown: a closed stderr must not hide its id."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert not has_terminal()
    assert isinstance(choose_view(), QuietView)
    print_rich_table(("a",), [("b",)])
    with pytest.raises(TargetFileError, match="stdin is closed"):
        list(_read_lines("-"))
