"""Make the names of the Redis keys of webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scrape_do_celery.store import retention
from scrape_do_celery.store.key_declarations import holds
from scrape_do_celery.store.retention import Expiry

if TYPE_CHECKING:
    from scrape_do_celery.store.part_ids import PartId

#: Life of a probe, in seconds: far longer than its delivery takes.
PROBE_TTL: Final = 120


class WebhookKeys:
    """The names of the keys of webhooks. `Keys` gives the prefix."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def prefix(self) -> str:
            """The prefix of all keys."""
            ...

    @holds("hash", retention.HELD_PAGES_TTL)
    def deliveries(self, part_id: PartId) -> str:
        """Return the key of the deliveries of a live part that a step has not treated: hints, delivered pages, notes.

        Task position -> `hint`, `page` or `check` and its costs; `note <job> <task>` -> whether the header was right.
        """
        return f"{self.prefix}:deliveries:{part_id}"

    @holds("hash", Expiry.NEVER)
    def webhook_trust(self, account: str) -> str:
        """Return the key of the trust in delivered pages of an account: their number, why it ended, and restores."""
        return f"{self.prefix}:webhook_trust:{account}"

    @holds("string", PROBE_TTL)
    def webhook_probe(self, run_id: str) -> str:
        """Return the key of a probe of `doctor`, under an id that no run has: how its delivery came."""
        return f"{self.prefix}:webhook_probe:{run_id}"
