"""The configuration of the Django app, by which a process uses Django's settings and transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.core import checks
from django.core.signals import setting_changed
from django.db import close_old_connections, transaction

from scrape_do_celery.contrib import settings_dict
from scrape_do_celery.contrib.django import conf
from scrape_do_celery.runs.hooks import FrameworkHooks, install_hooks

if TYPE_CHECKING:
    from collections.abc import Callable


class ScrapeDoConfig(AppConfig):
    """The Django app of Scrape.do."""

    name = "scrape_do_celery.contrib.django"
    label = "scrape_do"
    verbose_name = "Scrape.do"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Install the hooks, the check of the settings and the mirror.

        Read no settings yet: a wrong setting must not stop `manage.py check`, which reports it.
        """
        install_hooks(
            FrameworkHooks(
                settings=conf.read_settings, after_commit=after_commit, close_connections=close_old_connections
            )
        )
        checks.register(check_settings, "scrape_do")
        setting_changed.connect(_forget_settings)
        if conf.read_option("MIRROR") is True:
            from scrape_do_celery.contrib.django import mirror

            mirror.start_mirroring()


def after_commit() -> Callable[[Callable[[], object]], object] | None:
    """Return a function that postpones a call until the caller's transaction is committed; None outside a transaction.

    If the caller manages transactions by hand, without autocommit, Django raises `TransactionManagementError`.
    """
    using = conf.read_option("DATABASE")
    connection = transaction.get_connection(using)
    by_hand = connection.connection is not None and not connection.autocommit
    if not connection.in_atomic_block and not by_hand:
        return None
    return lambda act: transaction.on_commit(act, using=using)


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Return an error for each wrong key of `SCRAPE_DO`. No error shows a value."""
    return [
        checks.Error(f"{settings_dict.name_of_key(key)}: {what}", id="scrape_do.E001")
        for key, what in conf.find_problems().items()
    ]


def _forget_settings(*, setting: str, **_: Any) -> None:
    if setting == settings_dict.SETTING:
        conf.read_settings.cache_clear()
