"""The command `manage.py scrape_do ...`: all commands of this package, with the settings of the project."""

from __future__ import annotations

import sys
from argparse import REMAINDER, ArgumentParser
from contextlib import redirect_stderr, redirect_stdout
from typing import IO, TYPE_CHECKING, Any, cast

import click
from django.core.management.base import BaseCommand, CommandError

from scrape_do_celery.cli import main
from scrape_do_celery.cli.group import CommandGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.core.management.base import OutputWrapper

_group = CommandGroup("scrape_do", commands=main.commands, help="Manage runs with the settings of this project.")


class Command(BaseCommand):
    """The command that passes its words to the commands of click."""

    help = "Manage runs of the Scrape.do Async API: " + ", ".join(sorted(main.commands))

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the words of the command, which click reads."""
        parser.add_argument("words", nargs=REMAINDER, metavar="COMMAND ...", help="A command, and its arguments.")

    def handle(self, *, words: Sequence[str], **_: Any) -> None:
        """Run the command of click, and write its output to the outputs of this command.

        Raises:
            CommandError: the command failed; `returncode` is that of `scrape-do`.
        """
        for output in (self.stdout, self.stderr):
            _write_plainly(output)
        try:
            with redirect_stdout(cast("IO[str]", self.stdout)), redirect_stderr(cast("IO[str]", self.stderr)):
                code = _group.main(
                    _without_django_options(words), prog_name="manage.py scrape_do", standalone_mode=False
                )
        except click.ClickException as error:
            raise CommandError(error.format_message(), returncode=error.exit_code) from None
        except click.Abort:
            raise CommandError("aborted") from None
        if code:
            # The command has printed its reason.
            sys.exit(code)


def _write_plainly(output: OutputWrapper) -> None:
    """Keep Django from styling lines and from adding line ends to the output of click."""
    output.ending, output.style_func = "", None


def _without_django_options(words: Sequence[str]) -> list[str]:
    """Return the words without options that `manage.py` has obeyed already."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    return parser.parse_known_args(list(words))[1]
