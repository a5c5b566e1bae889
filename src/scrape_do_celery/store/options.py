"""The request and the options of a run, and their form in the record."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scrape_do_celery.models import MAX_TARGETS_PER_JOB, JobCreationRequest
from scrape_do_celery.models.sendable import KEPT
from scrape_do_celery.redaction import request_fields, request_summary
from scrape_do_celery.store.codec import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The names of the options of a run beside its request.
RUN_OPTIONS = ("raise_on_task_failure", "max_wait", "early")
#: Runs with at least this number of targets have their tasks fetched early, unless the caller sets `early`.
EARLY_FROM = 50


@dataclass(frozen=True)
class RunSpec:
    """The request of a run, and the options of the run."""

    request: JobCreationRequest
    raise_on_task_failure: bool = False
    max_wait: float | None = None
    early: bool | None = None

    def __post_init__(self) -> None:
        # Equal values of other types are the same request: 60 and 60.0, False and 0.
        object.__setattr__(self, "raise_on_task_failure", bool(self.raise_on_task_failure))
        early = self.request.size >= EARLY_FROM if self.early is None else bool(self.early)
        object.__setattr__(self, "early", early)
        if self.max_wait is None:
            return
        object.__setattr__(self, "max_wait", _seconds(self.max_wait))

    @cached_property
    def digest(self) -> str:
        """The digest of the spec. Equal specs have equal digests, in any order of their options."""
        text = json.dumps([self.request.canonical(), *(getattr(self, name) for name in RUN_OPTIONS)])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def differing_fields(self, other: RunSpec) -> tuple[str, ...]:
        """Return the names of the fields in which two specs differ."""
        names = list(self.request.differing_fields(other.request))
        names += [name for name in RUN_OPTIONS if getattr(self, name) != getattr(other, name)]
        return tuple(names)

    def parts(self) -> list[JobCreationRequest]:
        """Return the requests of the parts, in input order."""
        return self.request.split(MAX_TARGETS_PER_JOB)

    def request_summary(self, *, hosts: bool = True) -> dict[str, Any]:
        """Return the public summary of the spec."""
        options = {"raise_on_task_failure": self.raise_on_task_failure, "max_wait": self.max_wait}
        return request_summary({**request_fields(self.request), **options}, hosts=hosts)

    def packed(self) -> tuple[bytes, list[bytes]]:
        """Pack the spec for the record: one field for the options, and one field for the targets of each part."""
        options = {
            "request": _without_inputs(self.request.to_wire()),
            # Options without effect are left out, because a hundred thousand runs may wait in the store.
            **{
                name: value for name in RUN_OPTIONS if (value := getattr(self, name)) is not None and value is not False
            },
        }
        return pack(options), [pack(inputs_of(part)) for part in self.parts()]

    @classmethod
    def unpacked(cls, spec: bytes, parts: Sequence[bytes]) -> RunSpec:
        """Unpack the spec of a record, with the targets of the given parts."""
        data = unpack(spec)
        inputs = [one for part in parts for one in unpack(part)]
        request = JobCreationRequest.model_validate(_with_inputs(data["request"], inputs), context=KEPT)
        return cls(request, **{"early": False, **{name: data[name] for name in RUN_OPTIONS if name in data}})


def _seconds(value: Any) -> float:
    hint = ": use .total_seconds()" if isinstance(value, timedelta) else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"max_wait must be a number of seconds, or None; not {type(value).__name__}{hint}")  # noqa: TRY004
    # A larger int cannot be converted to a float.
    if not 0 < value <= sys.float_info.max:
        raise ValueError("max_wait must be a positive, finite number of seconds, or None")
    return float(value)


def inputs_of(request: JobCreationRequest) -> list[Any]:
    """Return the targets of a request, or the parameter sets of its plugin."""
    return list(request.targets or ()) if request.plugin is None else list(request.plugin.params)


def targets_of(request: JobCreationRequest) -> list[str]:
    """Return the targets of a request; for a plugin, a text for each parameter set, which is only a fingerprint."""
    return [one if isinstance(one, str) else json.dumps(one, sort_keys=True) for one in inputs_of(request)]


def _without_inputs(wire: dict[str, Any]) -> dict[str, Any]:
    if "Plugin" in wire:
        return {**wire, "Plugin": {**wire["Plugin"], "Params": []}}
    return {name: value for name, value in wire.items() if name != "Targets"}


def _with_inputs(wire: dict[str, Any], inputs: list[Any]) -> dict[str, Any]:
    if "Plugin" in wire:
        return {**wire, "Plugin": {**wire["Plugin"], "Params": inputs}}
    return {**wire, "Targets": inputs}
