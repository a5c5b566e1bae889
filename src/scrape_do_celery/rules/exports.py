"""The states of the export that follows a run, and the decision about a failed attempt."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from scrape_do_celery.errors import ConfigurationError, EncryptionKeyError, ResultExpiredError
from scrape_do_celery.rules.backoff import delay

if TYPE_CHECKING:
    from collections.abc import Callable

#: Attempts of an export, at most. With the delays below, they last for more than an hour.
MAX_ATTEMPTS: Final = 20
_FIRST_DELAY, _LONGEST_DELAY = 5.0, 300.0


class ExportState(StrEnum):
    """The state of the export that follows a run."""

    WAITING = "waiting"  #: no file was begun
    WRITING = "writing"  #: an attempt has begun a file, so a file of this name may be the export's own
    DONE = "done"  #: the files are whole
    EMPTY = "empty"  #: the run has no entry, and no file was written
    FAILED = "failed"  #: no attempt follows

    @property
    def has_ended(self) -> bool:
        """Whether no attempt follows."""
        return self not in {ExportState.WAITING, ExportState.WRITING}


class ExportInterruptedError(Exception):
    """No attempt of an export came to its end."""


class ExportFault(StrEnum):
    """The kind of the error of an attempt."""

    EXISTS = "exists"  #: a file, or another export, is at the destination
    EXPIRED = "expired"  #: pages have expired
    KEY = "key"  #: the worker lacks an encryption key
    PACKAGE = "package"  #: the worker lacks a package
    INTERRUPTED = "interrupted"  #: no attempt came to its end, because workers died
    DESTINATION = "destination"  #: the destination cannot be written


#: The faults that no further attempt removes.
_LASTING: Final = {ExportFault.EXISTS, ExportFault.EXPIRED, ExportFault.INTERRUPTED}


def classify_fault(error: Exception) -> ExportFault:
    """Return the kind of an error. File systems have errors of many classes, so any other error is theirs."""
    if isinstance(error, FileExistsError):
        return ExportFault.EXISTS
    if isinstance(error, ResultExpiredError):
        return ExportFault.EXPIRED
    if isinstance(error, ExportInterruptedError):
        return ExportFault.INTERRUPTED
    if isinstance(error, EncryptionKeyError):
        return ExportFault.KEY
    return ExportFault.PACKAGE if isinstance(error, ConfigurationError) else ExportFault.DESTINATION


def decide_retry_delay(fault: ExportFault, attempts: int, random: Callable[[], float]) -> float | None:
    """Return the seconds until the next attempt; None if the export has failed."""
    if fault in _LASTING or attempts >= MAX_ATTEMPTS:
        return None
    return delay(attempts - 1, initial=_FIRST_DELAY, maximum=_LONGEST_DELAY, jitter=0.2, random=random)
