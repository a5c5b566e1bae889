"""The option `--json` of commands, and the base of the shapes of their output."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import click
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Command = TypeVar("Command", bound=Callable[..., Any])


class Shape(BaseModel):
    """The form of a JSON object. A field that is not declared here breaks a test."""

    model_config = ConfigDict(extra="forbid")


def json_option(*shapes: type[Shape]) -> Callable[[Command], Command]:
    """Return the decorator that adds `--json` to a command, and declares the shapes of which its output has one."""

    def decorate(command: Command) -> Command:
        command.json_shapes = shapes  # type: ignore[attr-defined]
        return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)

    return decorate


def shapes_of(command: click.Command) -> tuple[type[Shape], ...]:
    """Return the shapes of a command's JSON; none if the command prints none."""
    return getattr(command.callback, "json_shapes", ())


def print_json(value: Mapping[str, Any]) -> None:
    """Print an object on one line. Only ASCII is printed, so that each locale can show it."""
    click.echo(json.dumps(value))
