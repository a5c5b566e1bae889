"""`scrape-do`, the command. Each command's module is loaded when it is called."""

from __future__ import annotations

import click

from scrape_do_celery.cli import sandbox


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="scrape-do-celery")
def main() -> None:
    """Scrape.do's Async API in Celery."""


main.add_command(sandbox.sandbox)
