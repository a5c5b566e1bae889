"""Make the names of the Redis keys of the index of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.store.encryption import PrivateValues
from scrape_do_celery.store.key_declarations import holds
from scrape_do_celery.store.retention import Expiry


class IndexKeys(PrivateValues):
    """The names of the keys of the index of runs. `Keys` gives the prefix.

    The state of a run in the index is `live`, then `delivering` until its outcome is delivered, then its outcome.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def prefix(self) -> str:
            """The prefix of all keys."""
            ...

    @holds("zset", Expiry.INDEX)
    def runs(self, state: str) -> str:
        """Return the key of the runs in a state -> when the run was written."""
        return f"{self.prefix}:runs:{state}"

    @holds("zset", Expiry.INDEX)
    def runs_with_label(self, state: str, label: str) -> str:
        """Return the key of the runs in a state with a label -> when the run was written."""
        return f"{self.prefix}:runs_with_label:{state}:{label}"

    @holds("zset", Expiry.INDEX)
    def runs_with_tag(self, state: str, tag: str) -> str:
        """Return the key of the runs in a state with a tag -> when the run was written."""
        return f"{self.prefix}:runs_with_tag:{state}:{tag}"

    @property
    @holds("zset", Expiry.INDEX)
    def runs_expiry(self) -> str:
        """The key of outcome, creation, label, tags and id of each delivered run -> when it leaves the index."""
        return f"{self.prefix}:runs_expiry"
