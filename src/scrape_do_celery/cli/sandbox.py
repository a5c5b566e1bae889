"""The command `scrape-do sandbox`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from scrape_do_sandbox.options import SandboxOptions

if TYPE_CHECKING:
    from collections.abc import Callable


def _sandbox_option(name: str, **settings: Any) -> Callable[..., Any]:
    """Return the decorator that adds the option of a field of `SandboxOptions`."""
    text = SandboxOptions.model_fields[name].description
    return click.option(f"--{name.replace('_', '-')}", help=text, **settings)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option("--port", type=int, default=8787, show_default=True, help="Listen on this port; 0 selects a free port.")
@_sandbox_option("task_seconds", type=float)
@_sandbox_option("spread", type=float)
@_sandbox_option("cancel_seconds", type=float)
@_sandbox_option("token")
@_sandbox_option("strict", is_flag=True, default=None)
@_sandbox_option("credits", type=int)
@_sandbox_option("concurrency", type=int)
@_sandbox_option("full_list", is_flag=True, default=None)
@_sandbox_option("urls")
@_sandbox_option("start_skew", type=float)
@_sandbox_option("date_skew", type=float)
@_sandbox_option("merge_equal_targets", is_flag=True, default=None)
@_sandbox_option("create_status", type=int)
@_sandbox_option("retention", type=float)
@_sandbox_option("webhook_later", type=float)
@_sandbox_option("webhook_timeout", type=float)
@_sandbox_option("webhook_concurrency", type=int)
@_sandbox_option("log_file", type=click.Path(dir_okay=False))
@click.pass_context
def sandbox(ctx: click.Context, /, host: str, port: int, **options: Any) -> None:
    """Serve a local Async API, without a token and without cost.

    Set SCRAPE_DO_API_URL to the address of the sandbox. The sandbox fetches targets on this machine, and makes up the
    pages of all other targets. The query strings of other targets may ask for faults: ?sandbox=error, ?status=404,
    ?seconds=5, ?size=1000000 (bytes), ?binary=1, ?gone=410, ?cost=30 (credits).
    """
    # Import late: the server loads an HTTP library, which no other command needs.
    from scrape_do_sandbox import SandboxError, load_server

    try:
        server = load_server()
    except SandboxError as error:
        raise click.ClickException(str(error)) from error
    ctx.exit(server.run(host, port, **{name: value for name, value in options.items() if value is not None}))
