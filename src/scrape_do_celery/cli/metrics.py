"""The command `scrape-do metrics`."""

from __future__ import annotations

import signal
import threading
from importlib.util import find_spec

import click

from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs import AppContext
from scrape_do_celery.store import Store


@click.command("metrics")
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option("--port", type=int, default=9808, show_default=True, help="Listen on this port; 0 selects a free port.")
@click.option("--once", is_flag=True, help="Print the metrics once and exit.")
def serve_metrics(host: str, port: int, once: bool) -> None:
    """Serve metrics of the store for Prometheus, on /metrics.

    The command needs the extra `metrics`. With the token, it also reads the remaining credits, at most once a minute.
    Without a token, it serves all other metrics. One process serves the metrics of all workers that share the store.
    """
    if find_spec("prometheus_client") is None:
        raise ConfigurationError("prometheus_client is not installed; run: pip install 'scrape-do-celery[metrics]'")
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server

    from scrape_do_celery.metrics.collector import StoreCollector

    app_context = AppContext.for_app()
    settings, encryptor = app_context.settings, app_context.store.encryptor
    # Prometheus gives up after some seconds. Fail fast, so that a Redis server that hangs is reported before.
    store = Store.open(
        settings.redis_url,
        settings.key_prefix,
        encryptor,
        fail_fast=True,
        clock_offset_key=app_context.timing.clock_offset_key,
    )
    collector, registry = StoreCollector(store, settings), CollectorRegistry()
    registry.register(collector)
    if once:
        click.echo(generate_latest(registry).decode(), nl=False)
        return
    stop = threading.Event()
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, lambda *_: stop.set())
    collector.live_runs.start()
    server, _ = start_http_server(port, host, registry)
    click.echo(f"http://{host}:{server.server_port}/metrics")
    stop.wait()
    server.shutdown()
    server.server_close()
    collector.live_runs.stop()
