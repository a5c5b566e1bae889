"""The commands `scrape-do webhook-trust`: show and restore the trust in delivered pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from scrape_do_celery.cli.filters import has_terminal
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import NONE, format_moment, print_table, printable
from scrape_do_celery.cli.shapes import TrustChangeShape, TrustsShape
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.figures import format_figure
from scrape_do_celery.runs import AppContext
from scrape_do_celery.runs.plans import find_account
from scrape_do_celery.store.commands.webhook_trust import ReadWebhookTrust, TrustWebhooks
from scrape_do_celery.store.webhook_trusts import read_trusts

if TYPE_CHECKING:
    from scrape_do_celery.store.commands.webhook_trust import WebhookTrust

_HEADER = ("account", "trust", "since", "pages", "reason")


@click.group("webhook-trust")
def manage_trust() -> None:
    """Show and restore the trust in pages that webhooks deliver.

    With SCRAPE_DO_WEBHOOK_TRUST=content, the first pages of each account, and then one in a hundred, are also fetched
    from the API and compared. If one differs, no delivered page of the account is believed any more: workers fetch each
    page, until `restore`.
    """


@manage_trust.command("list")
@json_option(TrustsShape)
def print_trust(as_json: bool) -> None:
    """Print whether delivered pages are believed, for each account of the store.

    `pages` is the number of pages that were delivered and stored since the trust began.
    """
    found = read_trusts(AppContext.for_app().store)
    if as_json:
        print_json({"accounts": [_trust_json(*one) for one in found.items()]})
    elif found:
        print_table(_HEADER, [_trust_row(*one) for one in found.items()], left=3)
    else:
        click.echo("no accounts: the store has bought no job")


@manage_trust.command("restore")
@click.argument("account", required=False)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option(TrustChangeShape)
@click.pass_context
def restore_trust(ctx: click.Context, account: str | None, yes: bool, as_json: bool) -> None:
    """Believe delivered pages of ACCOUNT again. Fetch and compare those of live runs, and the first new ones.

    If somebody else knew a key, run this after you have replaced the key, although the pages are still believed.

    ACCOUNT is an id that `list` prints; by default that of SCRAPE_DO_ACCOUNT, else of the token in SCRAPE_DO_API_KEY,
    else the only one of the store. Find out first who changed the pages: a proxy before your receiver, or somebody who
    knows SCRAPE_DO_WEBHOOK_KEYS.
    """
    store = AppContext.for_app().store
    account = account or _find_account()
    trust = store.run(ReadWebhookTrust(account))
    changed = trust.off_since is not None
    if changed:
        if not (yes or has_terminal()):
            raise click.UsageError("if stdin is not a terminal, restore needs --yes")
        click.echo(f"not trusted since {_format_time(trust.off_since)}: {printable(trust.why)}", err=True)
        if not yes and not click.confirm(f"Believe delivered pages of account {printable(account)} again?", err=True):
            ctx.abort()
    store.run(TrustWebhooks(account))
    if as_json:
        print_json({"account": account, "changed": changed})
    else:
        text = "are believed again" if changed else "are believed, as before"
        click.echo(f"delivered pages of account {printable(account)} {text}; workers compare those of live runs")


def _find_account() -> str:
    found = find_account(AppContext.for_app())
    if not found:
        raise ConfigurationError(
            "SCRAPE_DO_API_KEY is not set, and the store does not have exactly one account: name the account; "
            "`scrape-do webhook-trust list` shows the ids"
        )
    return found


def _trust_row(account: str, trust: WebhookTrust) -> tuple[str, ...]:
    word = "on" if trust.off_since is None else "off"
    return (account, word, _format_time(trust.off_since), format_figure(trust.taken), trust.why or NONE)


def _trust_json(account: str, trust: WebhookTrust) -> dict[str, Any]:
    is_on = trust.off_since is None
    return {
        "account": account,
        "trusted": is_on,
        "off_since": None if is_on else _format_time(trust.off_since),
        "pages": trust.taken,
        "reason": trust.why or None,
    }


def _format_time(seconds: float | None) -> str:
    return format_moment(None if seconds is None else datetime.fromtimestamp(seconds, UTC))
