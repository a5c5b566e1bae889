"""Commands for the trust in pages that webhooks deliver: read, end and restore the trust of an account."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.command import Command, Encoded, make_nonce

if TYPE_CHECKING:
    from scrape_do_celery.store.keys import Keys


@dataclass(frozen=True, slots=True)
class WebhookTrust:
    """The trust in delivered pages of an account. `taken` counts the pages since the trust began.

    `off_since` is a time by the store's clock; None while delivered pages are believed. `why` is the reason. `restores`
    counts how often the trust began anew: a page that came before the last time is not believed.
    """

    taken: int = 0
    off_since: float | None = None
    why: str = ""
    restores: int = 0


@dataclass(frozen=True, slots=True)
class ReadWebhookTrust(Command[WebhookTrust]):
    """Read whether delivered pages of an account are believed."""

    account: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.webhook_trust(self.account), "taken", "off", "why", "restores"))

    def decode(self, keys: Keys, reply: Any) -> WebhookTrust:
        taken, off, why, restores = reply
        return WebhookTrust(int(taken or 0), float(off) if off else None, (why or b"").decode(), int(restores or 0))


@dataclass(frozen=True, slots=True)
class DistrustWebhooks(Command[bool]):
    """Believe no delivered page of an account from now on. The result is whether pages were believed before."""

    account: str
    why: str
    nonce: str = field(default_factory=make_nonce)
    script = "distrust_webhooks"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.why, self.nonce), [keys.webhook_trust(self.account)])

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class TrustWebhooks(Command[bool]):
    """Believe delivered pages of an account again. Check the earlier pages, and the first new ones.

    The result is whether pages were not believed before.
    """

    account: str
    script = "restore_webhook_trust"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((), [keys.webhook_trust(self.account)])

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)
