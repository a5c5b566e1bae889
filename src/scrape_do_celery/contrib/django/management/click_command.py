"""The package's commands as Django's management commands, with the same options in `manage.py` and `call_command`."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from contextlib import redirect_stdout
from typing import IO, TYPE_CHECKING, Any, ClassVar, cast

import click
from django.core.management.base import BaseCommand, CommandError

from scrape_do_celery.errors import ScrapeDoError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator


class ClickCommand(BaseCommand):
    """A management command that runs a command of click."""

    command: ClassVar[click.Command]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the parameters of the click command. Click checks their values."""
        for one in self.command.params:
            name = str(one.name)
            if isinstance(one, click.Argument):
                parser.add_argument(name, nargs="*" if one.nargs == -1 else None)
            elif isinstance(one, click.Option):
                action: dict[str, Any] = {"action": BooleanOptionalAction} if one.is_flag else {}
                action |= {"action": "append"} if one.multiple else {}
                parser.add_argument(*one.opts, dest=name, default=None, help=one.help, **action)

    def handle(self, **options: Any) -> None:
        """Run the click command, and write its output to the output of this command."""
        arguments = [text for one in self.command.params for text in _command_words(one, options[str(one.name)])]
        # Add no line end to click's output: `ID=$(manage.py scrape_do_enqueue ...)` takes the whole output.
        self.stdout.ending = ""
        try:
            with redirect_stdout(cast("IO[str]", self.stdout)):
                self.command.main(arguments, prog_name=self.__module__.rpartition(".")[2], standalone_mode=False)
        except click.ClickException as error:
            raise CommandError(error.format_message()) from None
        except (ScrapeDoError, ValueError) as error:
            raise CommandError(f"{type(error).__name__}: {error}") from None


def _command_words(one: click.Parameter, value: Any) -> Iterator[str]:
    """Yield the words that pass a value on a command line."""
    if value is None or value is False:
        no = [] if value is None else [opt for opt in one.secondary_opts if opt.startswith("--")]
        yield from no[:1]
    elif isinstance(one, click.Argument):
        yield from [value] if isinstance(value, str) else value
    else:
        for each in value if isinstance(value, list) else [value]:
            yield one.opts[0]
            if each is not True:
                yield str(each)
