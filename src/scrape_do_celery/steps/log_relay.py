"""Hand the log records of a real OS thread over to the greenlets of its process.

Under gevent the locks of log handlers belong to greenlets. If a real OS thread waits for such a lock, a log call in a
user's task may raise an error of gevent.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from scrape_do_celery.steps.os_threads import find_original, open_mailbox

if TYPE_CHECKING:
    from scrape_do_celery.steps.os_threads import Mailbox

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
#: Seconds for which the end of a relay waits until its records are logged.
_CLOSING = 5.0


class LogRelay(logging.Filter):
    """A filter on every logger of the process. Open the relay in a greenlet, and call `adopt_thread` in the OS thread.

    The filter holds the records of that thread back, and a greenlet logs them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._get_ident = find_original("_thread", "get_ident")
        self._ident = 0
        self._records: Mailbox = open_mailbox()
        self._loggers = [logging.root, *_find_loggers()]
        for logger in self._loggers:
            logger.addFilter(self)
            for level in _LEVELS:
                # Fill the cache of levels: a look that misses the cache takes a lock of gevent.
                logger.isEnabledFor(level)
        self._greenlet = threading.Thread(target=self._log_records, name="scrape-do-logs", daemon=True)
        self._greenlet.start()

    def adopt_thread(self) -> None:
        """Hold the records of the calling thread back from now on."""
        self._ident = self._get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the calling thread may log the record itself."""
        if self._get_ident() != self._ident:
            return True
        self._records.put(record)
        return False

    def _log_records(self) -> None:
        while (record := self._records.get()) is not None:
            logging.getLogger(record.name).handle(record)
        self._records.close()

    def close(self) -> None:
        """Log the rest, and remove the filter. The thread must have ended."""
        self._records.put(None)
        self._greenlet.join(_CLOSING)
        for logger in self._loggers:
            logger.removeFilter(self)


def _find_loggers() -> list[logging.Logger]:
    return [found for found in logging.root.manager.loggerDict.values() if isinstance(found, logging.Logger)]
