"""Warn of parts that wait: for the token or the encryption key of another worker, or for a value that is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import RefusedValueError
from scrape_do_celery.log_fields import get_logger, log_fields

if TYPE_CHECKING:
    from scrape_do_celery.errors import EncryptionKeyError
    from scrape_do_celery.steps.once import OnceFilter

log = get_logger(__name__)


def warn_other_account(once: OnceFilter, account: str, own_account: str) -> None:
    """Warn that runs wait for a worker with the token that bought their jobs. Warn once for each account."""
    if once.is_first("account", account):
        text = (
            "runs of the account %s wait for a worker with its token; start one, and keep that token valid until they "
            "end (this worker's account is %s)"
        )
        log.warning(text, account, own_account, extra=log_fields("account_unattended", account=account))


def warn_missing_key(once: OnceFilter, why: str) -> None:
    """Warn that runs wait for a worker with another encryption key. Warn once for each key."""
    if once.is_first("key", why):
        log.error(
            "runs wait for a worker with another encryption key: %s", why, extra=log_fields("encryption_key_missing")
        )


def warn_refused_value(once: OnceFilter, error: RefusedValueError) -> None:
    """Warn that a run waits because a value of it is refused. Warn once for each run and field."""
    if once.is_first("refused", str(error.run_id), str(error.part), error.field):
        log.error("%s", error, extra=log_fields("value_refused", run_id=error.run_id or ""))


def warn_unreadable(once: OnceFilter, error: EncryptionKeyError) -> None:
    """Warn that a run waits because this process cannot read, or does not believe, a value of it."""
    if isinstance(error, RefusedValueError):
        warn_refused_value(once, error)
    else:
        warn_missing_key(once, str(error))
