"""Compare the output of a command's `--json` with the shape that the command declares."""

from __future__ import annotations

from functools import reduce
from operator import or_

import click
from pydantic import TypeAdapter

from scrape_do_celery.cli import main
from scrape_do_celery.cli.json_output import shapes_of


def iter_commands(group=main, *names):
    """Yield the words and the command of each command that is no group."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from iter_commands(command, *names, name)
        else:
            yield (*names, name), command


def find_command(arguments):
    """Return the command that the first arguments name."""
    command, words = main, list(arguments)
    while isinstance(command, click.Group) and words:
        command = command.commands[words.pop(0)]
    return command


def check_json(arguments, answer):
    """Fail if the answer to a call with `--json` has none of the declared shapes. A refused call prints nothing."""
    arguments = [str(one) for one in arguments]
    if "--json" not in arguments or not answer.stdout:
        return
    shapes = reduce(or_, shapes_of(find_command(arguments)))
    TypeAdapter(shapes).validate_json(answer.stdout, strict=True)
