"""The command `scrape-do account`."""

from __future__ import annotations

import click

from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.money_shapes import AccountShape
from scrape_do_celery.cli.output import print_facts
from scrape_do_celery.config.urls import masked
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.figures import format_figure
from scrape_do_celery.runs import AppContext


@click.command("account")
@json_option(AccountShape)
def print_account(as_json: bool) -> None:
    """Print the credits and the concurrency that the account has left.

    The command asks the API, which costs nothing, and needs the token.
    """
    settings = AppContext.for_app().settings
    if settings.api_key is None:
        raise ConfigurationError("SCRAPE_DO_API_KEY is not set: set it, because the account is known by its token")
    # Import late: the client loads an HTTP library, which no command needs before its call.
    from scrape_do_celery.client import ScrapeDoAsyncAPIClient
    from scrape_do_celery.client.routes import network_arguments

    with ScrapeDoAsyncAPIClient(
        settings.api_key, base_url=settings.api_url, timeout=settings.request_timeout, **network_arguments(settings)
    ) as client:
        user = client.get_user_info()
    if as_json:
        print_json(
            {
                "account": settings.account_id,
                "credits": user.available_credits,
                "concurrency": user.total_concurrency,
                "free_concurrency": user.free_concurrency,
                "active_jobs": user.active_jobs,
            }
        )
        return
    print_facts(
        [
            ("account", settings.account_id),
            ("API", masked(settings.api_url)),
            ("credits left", format_figure(user.available_credits)),
            ("concurrency", f"{user.free_concurrency:,} of {user.total_concurrency:,} free"),
            ("active jobs", format_figure(user.active_jobs)),
        ]
    )
