"""Log a message about each object once in the life of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.log_fields import get_logger, log_fields

if TYPE_CHECKING:
    from scrape_do_celery.steps.counters import Counters

log = get_logger(__name__)

#: Keys that a process remembers at most. A server could send a new word with each answer.
_REMEMBERED = 1_000


class OnceFilter:
    """The keys of the messages that this process has logged."""

    def __init__(self) -> None:
        self._keys: set[tuple[str, ...]] = set()

    def is_first(self, *key: str) -> bool:
        """Return whether a key is new, and remember the key. A process with too many keys has no new ones."""
        if key in self._keys or len(self._keys) >= _REMEMBERED:
            return False
        self._keys.add(key)
        return True


class RecentFilter:
    """The last keys of messages that this process has logged. A key that has left the memory counts as new."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, ...], None] = {}

    def is_first(self, *key: str) -> bool:
        """Return whether a key is not among the last ones, and remember the key."""
        if key in self._keys:
            return False
        self._keys[key] = None
        # Several threads may forget at once.
        for oldest in list(self._keys)[:-_REMEMBERED]:
            self._keys.pop(oldest, None)
        return True


class DefaultedFields:
    """The fields of answers whose values were unreadable, so that their defaults were used."""

    def __init__(self, counters: Counters, once: OnceFilter, api_url: str) -> None:
        self._counters, self._once, self._api_url = counters, once, api_url

    def note_default(self, model: str, field: str) -> None:
        """Count a field whose value is unreadable. Log the field once."""
        self._counters.add(f"defaults:{model}.{field}")
        if self._once.is_first("default", model, field):
            log.warning(
                "%s sends a value of %s.%s that cannot be read; the default is used, and later cases are only counted",
                self._api_url,
                model,
                field,
                extra=log_fields("default_used"),
            )
