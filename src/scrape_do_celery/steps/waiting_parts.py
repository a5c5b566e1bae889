"""Warn of parts that wait: for the token, the key or the version of another worker, or for a value that is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import RefusedValueError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.steps.once import OnceFilter
from scrape_do_celery.store.versions import RECORD_VERSION

if TYPE_CHECKING:
    from scrape_do_celery.errors import EncryptionKeyError

log = get_logger(__name__)

#: The versions of newer records that this process has warned of.
_newer = OnceFilter()


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


def warn_newer_record(version: int) -> None:
    """Warn that runs wait for a worker of a newer version of this package. Warn once for each version of records."""
    if _newer.is_first(str(version)):
        log.warning(
            "runs wait for a worker of a newer version of scrape-do-celery: their records have version %d, and this "
            "worker reads version %d; upgrade this worker, or start one with that version",
            version,
            RECORD_VERSION,
            extra=log_fields("record_newer"),
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
