"""The command `scrape-do redis`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click


@click.command("redis")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".scrape-do"),
    show_default=True,
    help="Keep the server's data in this folder.",
)
def run_redis(data_dir: Path) -> None:
    """Start a local server with the Redis protocol, for experiments.

    Needs the extra `embedded`. Prints the variable with the URL of the server, and runs until interrupted. The data is
    kept for the next start.
    """
    from scrape_do_celery import embedded

    stop = threading.Event()
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, lambda *_: stop.set())
    with embedded.ensure(data_dir, tie_to_parent=True, appendfsync="always") as server:
        click.echo(f"export SCRAPE_DO_REDIS_URL={server.url}")
        stop.wait()
