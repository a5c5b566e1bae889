"""Warn of parts that wait for another worker: for its token, or for its encryption key."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrape_do_celery.log_fields import log_fields

if TYPE_CHECKING:
    from scrape_do_celery.steps.once import OnceFilter

log = logging.getLogger(__name__)


def warn_other_account(once: OnceFilter, account: str, own_account: str) -> None:
    """Warn that runs wait for a worker with the token that bought their jobs. Warn once for each account."""
    if once.is_first("account", account):
        text = "runs of the account %s wait for a worker with its token; start one (this worker's account is %s)"
        log.warning(text, account, own_account, extra=log_fields("account_unattended", account=account))


def warn_missing_key(once: OnceFilter, why: str) -> None:
    """Warn that runs wait for a worker with another encryption key. Warn once for each key."""
    if once.is_first("key", why):
        log.error(
            "runs wait for a worker with another encryption key: %s", why, extra=log_fields("encryption_key_missing")
        )
