"""Commands for probes of the receiver of webhooks: announce a probe, and read how its delivery came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.webhook_keys import PROBE_TTL

if TYPE_CHECKING:
    from scrape_do_celery.store.keys import Keys


@dataclass(frozen=True, slots=True)
class OpenProbe(Command[None]):
    """Announce a probe: a delivery for a run that does not exist. `take_delivery.lua` notes how the delivery comes."""

    run_id: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("SET", keys.webhook_probe(self.run_id), "", "EX", PROBE_TTL))

    def decode(self, keys: Keys, reply: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class TakenProbe:
    """The delivery of a probe as a receiver has written it to the store.

    `is_proven` tells that its header was right. `task_id` is that of its body; empty if the body was unreadable.
    """

    is_proven: bool
    task_id: str


@dataclass(frozen=True, slots=True)
class ReadProbe(Command[TakenProbe | None]):
    """Read how the delivery of a probe came. The result is None if no receiver has written it to this store."""

    run_id: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("GET", keys.webhook_probe(self.run_id)))

    def decode(self, keys: Keys, reply: Any) -> TakenProbe | None:
        if not reply:
            return None
        is_proven, _, task_id = reply.decode().partition(" ")
        return TakenProbe(is_proven == "1", task_id)
