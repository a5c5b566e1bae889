"""The command `scrape-do doctor`: checks of this process's settings and servers."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from redis.exceptions import RedisError

from scrape_do_celery import diagnostics
from scrape_do_celery.api_diagnostics import check_api, check_refusals
from scrape_do_celery.budget_checks import check_budgets
from scrape_do_celery.cli.exit_codes import ExitCode
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import printable
from scrape_do_celery.cli.shapes import DoctorShape
from scrape_do_celery.config import SettingsWarning
from scrape_do_celery.config.urls import masked
from scrape_do_celery.config.variables import env_name
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.fairness_checks import check_fairness
from scrape_do_celery.findings import OK, WARNING, WRONG, Finding
from scrape_do_celery.runs import AppContext
from scrape_do_celery.schedule_checks import check_schedules
from scrape_do_celery.server_checks import check_plain_values, check_shared_account
from scrape_do_celery.store.token_refusals import read_refusal
from scrape_do_celery.webhook_checks import check_deliveries, check_webhook_settings
from scrape_do_celery.webhook_diagnostics import check_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.config import Settings
    from scrape_do_celery.store.token_refusals import TokenRefusal

_COLOURS = {OK: "green", WARNING: "yellow", WRONG: "red"}


@click.command("doctor")
@click.option("--strict", is_flag=True, help="Exit with 1 also after warnings.")
@click.option(
    "--webhook", is_flag=True, help="Deliver to your receiver of webhooks through SCRAPE_DO_WEBHOOK_BASE_URL."
)
@json_option(DoctorShape)
@click.pass_context
def run_doctor(ctx: click.Context, strict: bool, webhook: bool, as_json: bool) -> None:
    """Check settings, store, API, broker and workers.

    The exit code is 1 if something is wrong. Secrets are masked.

    With --webhook, the command calls the receiver as Scrape.do does: with a signed, a large and a forged delivery for
    runs that do not exist. It proves that the receiver has written them to the store of this process.
    """
    found: list[Finding] = []
    for finding in _run_checks(calls_receiver=webhook):
        found.append(finding)
        if not as_json:
            level = click.style(finding.level.ljust(7), fg=_COLOURS.get(finding.level))
            click.echo(f"{level}  {printable(finding.text)}")
    if as_json:
        print_json({"findings": [{"level": one.level, "text": printable(one.text)} for one in found]})
    levels = {one.level for one in found}
    if WRONG in levels or (strict and WARNING in levels):
        ctx.exit(ExitCode.FAILURE)


def _run_checks(*, calls_receiver: bool) -> Iterator[Finding]:
    try:
        with warnings.catch_warnings():
            # The checks below report the same warnings.
            warnings.simplefilter("ignore", SettingsWarning)
            app_context = AppContext.for_app()
    except ScrapeDoError as error:
        yield Finding(WRONG, str(error))
        return
    settings = app_context.settings
    yield from diagnostics.check_variables(os.environ)
    yield from _list_settings(settings)
    yield from diagnostics.check_token(settings)
    yield from check_webhook_settings(settings)
    of_store = list(diagnostics.check_store(app_context.store, settings.known_account))
    yield from of_store
    refusal: TokenRefusal | None = None
    # If the store does not answer, a finding has already said so.
    with suppress(RedisError):
        refusal = read_refusal(app_context.store, settings.account_id)
        yield from check_refusals(app_context.store, settings)
        yield from diagnostics.check_encryption_keys(app_context.store, settings.record_ttl)
        yield from diagnostics.check_record_versions(app_context.store)
        yield from check_plain_values(app_context.store, settings)
        yield from check_shared_account(app_context.store, settings)
        yield from check_budgets(app_context.store, settings)
        yield from check_fairness(app_context.store, settings)
        yield from check_schedules(app_context.store)
        yield from check_deliveries(app_context.store, settings)
        if calls_receiver:
            yield from check_receiver(app_context.store, settings)
    yield from check_api(settings, refusal)
    told = {env_name("redis_url")} if WRONG in {finding.level for finding in of_store} else set[str]()
    yield from diagnostics.check_broker(app_context.app, told)
    yield from diagnostics.check_workers(app_context.app, settings.queue)
    yield from diagnostics.check_server_urls(settings)
    yield from diagnostics.check_celery_app(app_context.app)


def _list_settings(settings: Settings) -> Iterator[Finding]:
    for name, value in settings.model_dump().items():
        default = "" if name in settings.model_fields_set else " (default)"
        shown = masked(value) if isinstance(value, str) else value
        yield Finding("", f"{env_name(name)} = {'not set' if shown is None else shown}{default}")
