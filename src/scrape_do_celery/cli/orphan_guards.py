"""The checks before `scrape-do orphans --cancel` stops jobs that nobody named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.config.urls import masked
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.store.commands.dispatch import ReadNamespaceOwner
from scrape_do_celery.store.commands.stats import ReadAccounts

if TYPE_CHECKING:
    from scrape_do_celery.runs import AppContext

_ADVICE = (
    "Give this command the settings of the application that buys, such as by `manage.py scrape_do` or "
    "`celery -A <your app> scrape-do`; or name the jobs to stop"
)


def refuse_foreign_store(app_context: AppContext) -> None:
    """Refuse to stop jobs by the word of a store that cannot know which jobs belong to runs.

    Raises:
        ConfigurationError: the store never bought for the account, or workers of another application serve it.
    """
    store, settings = app_context.store, app_context.settings
    where = f"the store at {masked(settings.redis_url)} under the prefix {settings.key_prefix}"
    if settings.account_id not in store.run(ReadAccounts()):
        raise ConfigurationError(
            f"{where} never bought for this account, so each of the account's jobs may belong to a run of another "
            f"store. No job was stopped. {_ADVICE}"
        )
    holder = store.run(ReadNamespaceOwner())
    if holder is not None and holder != app_context.application:
        raise ConfigurationError(
            f"workers of another application serve {where}: {holder}; this command has {app_context.application}. "
            f"No job was stopped. {_ADVICE}"
        )
