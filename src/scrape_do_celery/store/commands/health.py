"""The command of health checks: what would hold back a run that is enqueued now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.waits import WaitingFor
from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.waits import read_waits_of_new_run

if TYPE_CHECKING:
    from scrape_do_celery.store.keys import Keys


@dataclass(frozen=True, slots=True)
class CheckHealth(Command[list[WaitingFor]]):
    """Read all reasons why a run that is enqueued now would wait. With `writes`, write to the store first.

    `account` is the account of the caller; '' if the caller does not know it, for all accounts of the store.
    `token_id` is the fingerprint of the caller's token: the refusal of another token needs another remedy.
    """

    account: str
    token_id: str = ""
    writes: bool = False
    script = "check_health"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(
            (keys.prefix, self.account, "1" if self.writes else ""),
            [keys.rights_check, keys.namespace_owner, keys.pause, keys.accounts],
        )

    def decode(self, keys: Keys, reply: Any) -> list[WaitingFor]:
        return read_waits_of_new_run(reply, self.token_id)
