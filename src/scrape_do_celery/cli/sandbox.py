"""The command `scrape-do sandbox`."""

from __future__ import annotations

from typing import Any

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=int, default=8787, show_default=True, help="The port; 0 takes a free one.")
@click.option("--task-seconds", type=float, help="How long a task takes.")
@click.option("--spread", type=float, help="Share by which tasks differ from that, 0 to 1.")
@click.option("--cancel-seconds", type=float, help="How long a cancel takes.")
@click.option("--token", help="The only token to accept; any is, where this is left out.")
@click.option("--strict", is_flag=True, default=None, help="One failed task makes its job fail.")
@click.option("--credits", type=int, help="Credits of a new account.")
@click.option("--concurrency", type=int, help="Tasks that an account may have under way at once.")
@click.option("--full-list", is_flag=True, default=None, help="Show whole jobs in the list of jobs.")
@click.option("--urls", help="How URLs are written back: verbatim, whatwg, go, go_encode, idna2003 or pydantic.")
@click.option("--start-skew", type=float, help="Seconds by which times in answers are behind the Date header.")
@click.option("--date-skew", type=float, help="Seconds by which every second Date header is ahead.")
@click.option("--merge-equal-targets", is_flag=True, default=None, help="Equal targets of a job have one task.")
@click.option("--create-status", type=int, help="HTTP status of an accepted job.")
@click.option("--retention", type=float, help="Seconds that results are kept.")
@click.option("--webhook-later", type=float, help="Seconds until a webhook that met 404 or 410 is tried again.")
@click.option("--webhook-timeout", type=float, help="Seconds that a webhook's receiver may take.")
@click.option("--log-file", type=click.Path(dir_okay=False), help="Append each request to this file, as JSON lines.")
@click.pass_context
def sandbox(ctx: click.Context, /, host: str, port: int, **options: Any) -> None:
    """Serve a local Async API, without a token and without cost.

    Set SCRAPE_DO_API_URL to its address. Targets on this machine are really fetched; pages of other targets are made
    up. The query strings of other targets may ask for faults: ?sandbox=error, ?status=404, ?seconds=5, ?size=1000000
    (bytes), ?binary=1, ?gone=410.
    """
    # Import late: the server loads an HTTP library, which no other command needs.
    from scrape_do_sandbox import SandboxError, load_server

    try:
        server = load_server()
    except SandboxError as error:
        raise click.ClickException(str(error)) from error
    ctx.exit(server.run(host, port, **{name: value for name, value in options.items() if value is not None}))
