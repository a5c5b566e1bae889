"""The commands of `flask scrape-do ...`, with the settings of the application. Only `flask` loads this module."""

from __future__ import annotations

import click
from flask.cli import ScriptInfo

from scrape_do_celery.cli import main
from scrape_do_celery.cli.group import CommandGroup


@click.group("scrape-do", cls=CommandGroup, commands=main.commands)
@click.pass_context
def group(ctx: click.Context) -> None:
    """Manage runs of the Scrape.do Async API with this application's settings."""
    ctx.ensure_object(ScriptInfo).load_app()
