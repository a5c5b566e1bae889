"""The record of a run with its parts as a frozen value, parsed from a reply of Redis."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import RefusedValueError
from scrape_do_celery.models import MAX_TARGETS_PER_JOB
from scrape_do_celery.redaction import name_hosts
from scrape_do_celery.rules.exports import ExportState
from scrape_do_celery.rules.outcomes import RunState, may_have_bought, run_state
from scrape_do_celery.store.codec import unpack
from scrape_do_celery.store.encryption import missing_key_error
from scrape_do_celery.store.fields import (
    Record,
    decimal,
    flag,
    number,
    pairs,
    required,
    stored,
    stored_error,
    stored_many,
    text,
    words,
)
from scrape_do_celery.store.keys import Keys
from scrape_do_celery.store.part_ids import PartId
from scrape_do_celery.store.part_records import PartRecord
from scrape_do_celery.store.versions import refuse_newer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError

_PLAIN = Keys()
_NO_SUMMARY: dict[str, Any] = {}
_NO_TEXTS: tuple[str, ...] = ()


def _export_state(raw: bytes) -> ExportState:
    return ExportState(raw.decode())


def _json_object(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw)
    return found


def _packed_object(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = unpack(raw)
    return found


@dataclass(frozen=True, slots=True)
class RunRecord(Record):
    """The record of a run with the records of its parts, as one command read them."""

    run_id: str
    parts: tuple[PartRecord, ...]
    #: why this process cannot decrypt the whole record, or refuses a value of it; it must not deliver such a run
    unreadable: EncryptionKeyError | None
    created: float = required("created", decimal, "when the run was written")
    accepted: float | None = stored("accepted", decimal, "when the run was accepted; missing: the run is a draft")
    outcome: str | None = stored("outcome", text, "outcome of the run")
    stop_reason: str | None = stored("stop_reason", text, "reason of the stop request: `cancel` or `deadline`")
    skip_unsent: bool = stored("skip_unsent", flag, "the parts that were not sent stay unsent", default=False)
    ended: float | None = stored("ended", decimal, "when the outcome was written")
    decided_by: int = stored("decided_by", number, "number of the part that decided the outcome", default=0)
    part_count: int = stored("parts", number, "number of parts", default=0)
    result: dict[str, Any] | None = stored("result", _packed_object, "result that Celery gets", encrypted=True)
    error: ScrapeDoError | None = stored(
        "error", stored_error, "error of the outcome", encrypted=True, error_instead=True
    )
    max_wait: float | None = stored("max_wait", decimal, "seconds until the run is stopped")
    expires_in: float | None = stored("expires_in", decimal, "seconds after which a draft is dropped")
    after: str | None = stored("after", text, "run whose end this draft waits for")
    parent: str | None = stored("parent", text, "run whose child this run is")
    child: str | None = stored("child", text, "run that buys what this run lacks")
    waiters: Mapping[str, str] = stored_many(
        "waiter:<id>", text, "signature of the delivery to a Celery id that waits", encrypted=True
    )
    request_summary: Mapping[str, Any] = stored(
        "summary", _json_object, "public summary of the request", default=_NO_SUMMARY
    )
    key_names: tuple[str, ...] = stored("key", words, "names of the keys of its encrypted values", default=_NO_TEXTS)
    tags: tuple[str, ...] = stored("tags", words, "tags of the run, which are never encrypted", default=_NO_TEXTS)
    label: str | None = stored("label", text, "label of the run, which is never encrypted")
    has_webhooks: bool = stored(
        "webhook", flag, "jobs are bought with webhooks that lead to our receiver", default=False
    )
    share: str = stored("fair", text, "priority, weight and fairness key, if the run sets one of them", default="")
    part_size: int = stored(
        "part_size", number, "targets of each part but the last, if not 1,000", default=MAX_TARGETS_PER_JOB
    )
    trace: str = stored("trace", text, "trace context that the run's spans belong to", default="")
    export: ExportState | None = stored("export", _export_state, "state of the export; missing: no export follows")
    export_schedule: str = stored("export_schedule", text, "schedule that the destination may name", default="")
    export_time: float | None = stored("export_time", decimal, "time of the tick that the destination may name")
    export_report: Mapping[str, Any] = stored(
        "export_report", _json_object, "figures or last error of the export", default=_NO_SUMMARY, encrypted=True
    )

    @classmethod
    def from_reply(cls, run_id: str, reply: Sequence[Any], keys: Keys = _PLAIN) -> RunRecord | None:
        """Parse the reply of `read_run.lua`. Return None if the run does not exist.

        Raises:
            NewerRecordError: a newer version of this package wrote the record.
        """
        if not reply:
            return None
        fields = pairs(reply[0])
        refuse_newer(run_id, fields.get("v"))
        values, unreadable = cls.read_values(fields, keys.run(run_id), keys)
        hashes = [(PartId(run_id, n), pairs(part)) for n, part in enumerate(reply[1:]) if part]
        parts = tuple(PartRecord.parse(fields, keys.part(part_id), keys) for part_id, fields in hashes)
        missing = set(values.get("key_names", ())) - set(keys.key_names)
        why = missing_key_error(min(missing), keys.key_names) if missing else next(iter(unreadable.values()), None)
        return cls(run_id=run_id, parts=parts, unreadable=why, **values)

    @property
    def has_fairness_key(self) -> bool:
        """Whether the run has a fairness key of its own."""
        return bool(self.share.rpartition(" ")[2])

    @property
    def lacks_key(self) -> bool:
        """Whether this process lacks a key of the record. Such a process must neither decide nor announce the run."""
        return self.unreadable is not None and not isinstance(self.unreadable, RefusedValueError)

    @property
    def awaits_export(self) -> bool:
        """Whether the run has ended, and its export has not."""
        return self.outcome is not None and self.export is not None and not self.export.has_ended

    @property
    def is_in_doubt(self) -> bool:
        """Whether an ended part may have bought a job that no search found."""
        return any(may_have_bought(one.outcome, purchases=one.purchases, job_id=one.job_id) for one in self.parts)

    @property
    def expires(self) -> float | None:
        """When the draft is dropped; None if it stays."""
        return None if self.expires_in is None else self.created + self.expires_in

    def part_id(self, number: int) -> PartId:
        """Return the id of a part of the run."""
        return PartId(self.run_id, number)

    @property
    def summary(self) -> dict[str, Any]:
        """The summary that monitors show: the number of targets, the host and the options, nothing private."""
        return {"targets": sum(part.total for part in self.parts), **self.request_summary}

    @property
    def hosts(self) -> str:
        """The host of the targets, as `name_hosts` words it."""
        return name_hosts(self.request_summary)

    @property
    def names(self) -> dict[str, str | int | None]:
        """What log records and spans say of the run beside its id."""
        return {"label": self.label, "hosts": self.hosts or None, "targets": self.summary["targets"]}

    @property
    def state(self) -> RunState:
        """The state of the run."""
        return run_state(self.outcome, [p.state for p in self.parts])
