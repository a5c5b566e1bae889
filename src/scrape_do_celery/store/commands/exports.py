"""Commands for the export that follows a run: claim it, and note its progress and its end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.exports import ExportState
from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.encryption import encryption_key_name
from scrape_do_celery.store.records import RunRecord
from scrape_do_celery.store.versions import refuse_newer_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.store.keys import Keys


@dataclass(frozen=True, slots=True)
class ExportClaim:
    """The claim of an export: its state, and the number of its attempts with this one."""

    state: ExportState
    attempts: int


@dataclass(frozen=True, slots=True)
class ClaimExport(Command[ExportClaim | None]):
    """Claim the export of an ended run for `seconds`, or renew the claim that `token` holds.

    The result is None if the export has ended, waits for its next attempt, or has another holder.
    """

    run_id: str
    token: str
    seconds: float
    script = "claim_export"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.run_id, keys.prefix, self.token, self.seconds), [keys.run(self.run_id), keys.due])

    def decode(self, keys: Keys, reply: Any) -> ExportClaim | None:
        refuse_newer_reply(self.run_id, reply)
        return None if reply is None else ExportClaim(ExportState(reply[0].decode()), int(reply[1]))


@dataclass(frozen=True, slots=True)
class UpdateExport(Command[bool]):
    """Note the state of an export; without a state, the end of an attempt that another one follows.

    After the last state, `AcknowledgeDelivery` lets the run expire.

    The result is whether `token` holds the claim. Otherwise nothing was written.
    """

    run_id: str
    token: str
    state: ExportState | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    retry_after: float = 0.0
    script = "update_export"

    def encode(self, keys: Keys) -> Encoded:
        run_id, run_key = self.run_id, keys.run(self.run_id)
        fields = {"export_report": json.dumps(self.report)} if self.report else {}
        report = RunRecord.encrypt_fields(keys, run_key, fields).get("export_report", "")
        return Encoded(
            (
                *(run_id, keys.prefix, self.token, self.state or "", report),
                *(encryption_key_name(keys), self.retry_after),
            ),
            [run_key, keys.due],
        )

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)
