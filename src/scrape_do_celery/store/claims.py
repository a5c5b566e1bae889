"""The claim of a step on a part, parsed from the reply of Redis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import SubmitInDoubtError
from scrape_do_celery.redaction import name_hosts
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.rules.reconciliation import date_intent
from scrape_do_celery.rules.states import PartState
from scrape_do_celery.store.fields import pairs
from scrape_do_celery.store.keys import Keys
from scrape_do_celery.store.part_records import PartRecord
from scrape_do_celery.store.records import RunRecord
from scrape_do_celery.store.stored_specs import decrypt_run_options, decrypt_spec, decrypt_targets, read_price_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.store.options import RunOptions, RunSpec
    from scrape_do_celery.store.part_ids import PartId

_HOUR = 3600.0
_PLAIN = Keys()
#: The fields of a run beside its request that a claim has, in the order of the reply of `claim_part.lua`.
CLAIMED_RUN_FIELDS = ("stop_reason", "skip_unsent", "max_wait", "trace", "label", "summary", "webhook")


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of a step on a part: the part's record at that time, and the fence that each write must carry."""

    part_id: PartId
    now: float
    part: PartRecord
    #: seconds since the part was due
    late: float
    spec_field: bytes = field(repr=False)
    targets_field: bytes = field(repr=False)
    #: the verdict on the account; empty: the breaker is closed, or a stop request lets the part through;
    #: `probe`, `over`: the breaker is open, and the step tries the token first;
    #: `other_account`: the part belongs to another account, and must end
    breaker: str = ""
    keys: Keys = _PLAIN
    #: the values of the run's record, as `RunRecord` declares them
    stop_reason: str | None = None
    skip_unsent: bool = False
    max_wait: float | None = None
    trace: str = ""
    label: str | None = None
    request_summary: Mapping[str, Any] = field(default_factory=dict)
    has_webhooks: bool = False
    #: the watched clock at the claim: no step of the server's clock is in it
    watched: float = 0.0

    @classmethod
    def from_reply(cls, part_id: PartId, reply: Sequence[Any], keys: Keys = _PLAIN) -> Claim:
        """Parse the claim in the reply of `claim_part.lua`."""
        _, now, fields, (spec, targets, *of_run), breaker, watched = reply
        part = PartRecord.parse(pairs(fields), keys.part(part_id), keys)
        found = {name: value for name, value in zip(CLAIMED_RUN_FIELDS, of_run, strict=True) if value is not None}
        return cls(
            part_id=part_id,
            now=float(now),
            part=part,
            late=0.0 if part.due_at is None else max(0.0, float(now) - part.due_at),
            spec_field=spec,
            targets_field=targets,
            breaker=breaker.decode(),
            keys=keys,
            watched=float(watched),
            **RunRecord.read_values(found)[0],
        )

    @property
    def names(self) -> dict[str, str | int | None]:
        """What log records and spans say of the part beside its id. The targets are those of the part."""
        hosts = name_hosts(self.request_summary)
        return {"label": self.label, "hosts": hosts or None, "targets": self.part.total}

    @property
    def is_unresolved(self) -> bool:
        """Whether the part may have bought a job whose id is unknown."""
        return self.part.state in {PartState.SUBMITTING, PartState.RECONCILING} and not self.part.refused

    def in_doubt_error(self, why: str, candidates: Sequence[str] = ()) -> SubmitInDoubtError:
        """Return the error of a purchase that stays in doubt."""
        run_id, part = self.part_id.run_id, self.part
        text = f"run {run_id}: a job of {part.total} target(s) may have been bought, and its answer was lost: {why}"
        if part.submit_error:
            text += f"; the last cause: {part.submit_error}"
        text += "; do not enqueue these targets again before you have checked `.candidates` and the account's job list"
        return SubmitInDoubtError(text, part.total, part.intent, list(candidates), run_id)

    def first_intent(self, api_clock_offset: float | None) -> float:
        """Return the time of the part's first intent by the present clock of the server.

        If the offset of the API's clock is not known, the stored time stands: that clock is taken for the server's
        clock at the time of the intent.
        """
        stored, watched = self.part.first_intent or self.now, self.part.first_watched
        if api_clock_offset is None or watched is None:
            return stored
        return date_intent(stored, self.now, self.watched - watched)

    def is_forgotten(self) -> bool:
        """Tell whether the API has certainly deleted the part's job."""
        return self._is_past_life(self.part.bought_at)

    @property
    def age(self) -> float:
        """The seconds since the part's last purchase at least, by the watched clock; 0 without a purchase."""
        since = self.part.watched or self.part.intent
        return 0.0 if since is None else max(0.0, self.watched - since)

    @property
    def job_age(self) -> float:
        """The seconds since the part got its job at least. Neither clock alone can make a job old."""
        return min(self.age, max(0.0, self.now - (self.part.bought_at or self.now)))

    @property
    def is_outlived(self) -> bool:
        """Whether, by the server's clock, the API no longer keeps a job that the last purchase bought."""
        return self.part.intent is not None and self.now - self.part.intent > RETENTION

    def is_past_finding(self) -> bool:
        """Tell whether the API has certainly deleted any job that the part's last purchase bought."""
        return self._is_past_life(self.part.intent)

    def _is_past_life(self, bought: float | None) -> bool:
        # A step of the server's clock makes no job old, and pages that were paid for are not given up for it.
        return bought is not None and min(self.now - bought, self.age) > RETENTION + _HOUR

    def stop_grace_passed(self, grace: float) -> bool:
        """Tell whether a step saw the stop request more than `grace` seconds ago.

        The time before that does not count, because there may have been no worker.
        """
        return self.part.stop_seen_at is not None and self.watched - self.part.stop_seen_at > grace

    @property
    def is_hinted(self) -> bool:
        """Whether a delivery has demanded a step since the last step of deliveries."""
        return self.part.hints != self.part.hints_seen

    @property
    def wants_job(self) -> bool:
        """Whether a delivery has demanded a poll of the job since the last step of deliveries."""
        return self.part.job_hint > self.part.hints_seen

    @property
    def may_have_contents(self) -> bool:
        """Whether a page may be stored. A page may be delivered after the claim, also for a job found by a search."""
        return self.has_webhooks or self.part.has_contents

    @property
    def run_options(self) -> RunOptions:
        """The options of the run that have an effect, without the cost of reading its targets.

        Raises:
            EncryptionKeyError: If this process cannot decrypt them.
        """
        return decrypt_run_options(self.keys, self.part_id.run_id, self.spec_field)

    def spec(self) -> RunSpec:
        """Return the run's options with the targets of this part.

        Raises:
            EncryptionKeyError: If this process cannot decrypt them.
            ValueError: If they are not a request that can be sent.
        """
        fields = {"spec": self.spec_field, f"targets:{self.part_id.part}": self.targets_field}
        return decrypt_spec(self.keys, self.part_id.run_id, fields)

    def price_key(self, url: str) -> str:
        """Return the name under which the store learns the cost of the part's task with this URL; empty for no name."""
        return read_price_key(self.keys, self.part_id, self.spec_field, self.targets_field, url)

    def trouble_fields(self, kind: str) -> dict[str, str]:
        """Return the fields that note a failed call: its kind, and since when calls fail for this kind of reason."""
        part = self.part
        is_same = part.api_failures and part.trouble == kind and part.trouble_since is not None
        since = part.trouble_since or self.now if is_same else self.now
        return {"trouble": kind, "trouble_since": f"{since:.4f}"}

    def targets(self) -> list[str]:
        """Return the targets of this part as texts, also those of a request that this version cannot read.

        Raises:
            EncryptionKeyError: If this process cannot decrypt them.
        """
        return decrypt_targets(self.keys, self.part_id.run_id, f"targets:{self.part_id.part}", self.targets_field)
