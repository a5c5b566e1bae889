"""The app's configuration: this process takes its settings and its transactions from Django."""

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
    """Scrape.do in a Django project."""

    name = "scrape_do_celery.contrib.django"
    label = "scrape_do"
    verbose_name = "Scrape.do"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Settings are read when somebody needs them: a wrong one must not keep `manage.py check` from saying so."""
        install_hooks(
            FrameworkHooks(settings=conf.settings, after_commit=after_commit, close_connections=close_old_connections)
        )
        checks.register(check_settings, "scrape_do")
        setting_changed.connect(_forget_settings)
        if conf.option("MIRROR") is True:
            from scrape_do_celery.contrib.django import mirror

            mirror.start()


def after_commit() -> Callable[[Callable[[], object]], object] | None:
    """How to put an act off until the transaction of the caller is committed; None outside of one.

    Where transactions are managed by hand, without autocommit, Django refuses it with `TransactionManagementError`.
    """
    using = conf.option("DATABASE")
    connection = transaction.get_connection(using)
    by_hand = connection.connection is not None and not connection.autocommit
    if not connection.in_atomic_block and not by_hand:
        return None
    return lambda act: transaction.on_commit(act, using=using)


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """What is wrong with `SCRAPE_DO`, key by key. No value is shown."""
    return [
        checks.Error(f"{settings_dict.where(key)}: {what}", id="scrape_do.E001")
        for key, what in conf.problems().items()
    ]


def _forget_settings(*, setting: str, **_: Any) -> None:
    if setting == settings_dict.SETTING:
        conf.settings.cache_clear()
