"""The command `scrape-do webhook`."""

from __future__ import annotations

import asyncio

import click

from scrape_do_celery.webhooks.service import find_service


@click.command("webhook")
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option("--port", type=int, default=8788, show_default=True, help="Listen on this port; 0 selects a free port.")
def serve_webhooks(host: str, port: int) -> None:
    """Receive webhooks of Scrape.do, below any path.

    Put a proxy with TLS before the command, and set SCRAPE_DO_WEBHOOK_BASE_URL to the proxy's public URL. The command
    needs SCRAPE_DO_WEBHOOK_KEYS and the store, and no token. Slow senders are cut off. Several processes may serve one
    store.
    """
    # Import late: no other command needs the server.
    from scrape_do_celery.webhooks.server import serve

    find_service()
    asyncio.run(serve(host, port, click.echo))
