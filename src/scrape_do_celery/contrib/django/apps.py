"""The configuration of the Django app, by which a process uses Django's settings and transactions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core import checks
from django.core.signals import setting_changed
from django.db import close_old_connections, transaction
from django.utils.asyncio import async_unsafe

from scrape_do_celery.contrib import settings_dict
from scrape_do_celery.contrib.django import conf
from scrape_do_celery.contrib.django.beat_table import read_beat_table
from scrape_do_celery.contrib.django.webhook_checks import check_webhooks
from scrape_do_celery.runs import EAGER
from scrape_do_celery.runs.celery_app import find_user_app
from scrape_do_celery.runs.hooks import FrameworkHooks, install_hooks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_EAGER_SETTING = "CELERY_TASK_ALWAYS_EAGER"


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
                settings=conf.read_settings,
                after_commit=after_commit,
                call_from_async=call_from_async,
                test_runner=find_test_runner,
                close_connections=close_old_connections,
                stored_entries=read_beat_table,
            )
        )
        checks.register(check_settings, "scrape_do")
        checks.register(check_eager, "scrape_do")
        checks.register(check_webhooks, "scrape_do")
        setting_changed.connect(_forget_settings)
        if conf.read_option("MIRROR") is True:
            from scrape_do_celery.contrib.django import mirror

            mirror.start_mirroring()


def after_commit() -> Callable[[Callable[[], object]], object] | None:
    """Return a function that postpones a call until the caller's transaction is committed; None outside a transaction.

    If the caller manages transactions by hand, without autocommit, Django raises `TransactionManagementError`.

    Raises:
        SynchronousOnlyOperation: the caller is a coroutine, as for `transaction.on_commit`. A coroutine runs on another
            thread than the transaction around it, and so its connection does not show that transaction.
    """
    using = conf.read_option("DATABASE")
    connection = transaction.get_connection(using)
    if not connection.in_atomic_block:
        _refuse_coroutine()
    by_hand = connection.connection is not None and not connection.autocommit
    if not connection.in_atomic_block and not by_hand:
        return None
    return lambda act: transaction.on_commit(act, using=using)


@async_unsafe("A coroutine cannot see its transaction: write `await aenqueue(...)` instead of `enqueue(...)`.")
def _refuse_coroutine() -> None:
    """Do nothing, unless the caller is a coroutine."""


def call_from_async(function: Callable[[], Any]) -> Awaitable[Any]:
    """Call a short function on the thread whose database connection the caller's other queries use."""
    return sync_to_async(function, thread_sensitive=True)()


def find_test_runner() -> str:
    """Return the name of Django's test runner if it has set up this process for tests, else an empty text.

    `mail.outbox` would be the documented sign, but a development site with the locmem backend has an outbox too.
    """
    utils = sys.modules.get("django.test.utils")
    state = getattr(utils, "_TestState", None)
    return "Django's test runner" if hasattr(state, "saved_data") else ""


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Return an error for each wrong key of `SCRAPE_DO`. No error shows a value."""
    return [
        checks.Error(f"{settings_dict.name_of_key(key)}: {what}", id="scrape_do.E001")
        for key, what in conf.find_problems().items()
    ]


def check_eager(**_: Any) -> list[checks.CheckMessage]:
    """Return a warning if Celery's tasks run within the call that sends them: then each `enqueue` raises."""
    app = find_user_app()
    # A project may create its app after the checks. The setting then has the name from Celery's documentation.
    is_eager = getattr(django_settings, _EAGER_SETTING, False) if app is None else app.conf.task_always_eager
    if not is_eager:
        return []
    return [checks.Warning(f"{_EAGER_SETTING} is True, so `enqueue` raises an error", hint=EAGER, id="scrape_do.W001")]


def _forget_settings(*, setting: str, **_: Any) -> None:
    if setting == settings_dict.SETTING:
        conf.read_settings.cache_clear()
