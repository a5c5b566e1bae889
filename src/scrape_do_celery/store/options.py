"""The options of a run, declared once; the checked spec of a run, and its form in the record."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self, Unpack, cast

from typing_extensions import TypedDict

from scrape_do_celery.models import MAX_TARGETS_PER_JOB, JobCreationRequest, RequestFields
from scrape_do_celery.models.sendable import KEPT, SAID
from scrape_do_celery.redaction import request_fields, request_summary
from scrape_do_celery.store.codec import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scrape_do_celery.store.keys import Keys

#: Runs with at least this number of targets have their tasks fetched early, unless the caller sets `early`.
EARLY_FROM = 50


class RunOptions(TypedDict, total=False):
    """The options of a run beside its request, as keyword arguments of each function that starts a run."""

    #: whether one failed task makes the run fail with `TaskFailedError`; False by default
    raise_on_task_failure: bool
    #: seconds from the start of the run, more than 0, after which the run ends with `RunTimeoutError` and its jobs are
    #: canceled; None, the default, sets no limit
    max_wait: float | None
    #: whether pages are fetched while their job still runs, at the cost of one poll in each interval; None, the
    #: default, decides by the number of targets: from 50 on
    early: bool | None


#: The names of the run options.
RUN_OPTIONS: Final = tuple(RunOptions.__annotations__)


class EnqueueOptions(RunOptions, RequestFields, total=False, closed=True):
    """The keyword arguments that describe a run: its options, and the fields of its request."""


@dataclass(frozen=True)
class RunSpec:
    """The request of a run, and the options of the run. The fields after `request` are those of `RunOptions`."""

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
        object.__setattr__(self, "max_wait", _check_seconds(self.max_wait))

    @classmethod
    def from_arguments(
        cls,
        targets: Iterable[str] | JobCreationRequest | None = None,
        keywords: Iterable[str] = (),
        /,
        **options: Unpack[EnqueueOptions],
    ) -> Self:
        """Return the checked spec of a call that starts a run. `keywords` are the other arguments of the call.

        Raises:
            ValueError: a field is wrong.
        """
        JobCreationRequest.refuse_unknown(options, (*RUN_OPTIONS, *keywords))
        fields: dict[str, Any] = dict(options)
        run_options = {name: fields.pop(name) for name in RUN_OPTIONS if name in fields}
        if isinstance(targets, JobCreationRequest):
            if fields:
                raise ValueError(
                    f"{', '.join(sorted(fields))}: set these fields in the JobCreationRequest, not as arguments"
                )
            # The request is checked again: a copy of a model may have fields that were never checked.
            return cls(JobCreationRequest.model_validate(targets, context=SAID), **run_options)
        if targets is not None:
            fields["targets"] = targets
        return cls(JobCreationRequest(**fields), **run_options)

    @property
    def run_options(self) -> RunOptions:
        """The options of the run, to start another run with the same options."""
        return cast("RunOptions", {name: getattr(self, name) for name in RUN_OPTIONS})

    @cached_property
    def digest(self) -> str:
        """The digest of the spec. Equal specs have equal digests, in any order of their options."""
        # Hash only what differs from the defaults. If the digest held every option, each new option of a later version
        # would change all digests, and after an upgrade all idempotency keys would conflict.
        defaults = type(self)(self.request)
        changed = {name: value for name, value in self.run_options.items() if value != getattr(defaults, name)}
        text = json.dumps([self.request.canonical(), changed], sort_keys=True)
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
        return request_summary({**request_fields(self.request), **self.run_options}, hosts=hosts)

    def packed(self) -> tuple[bytes, list[bytes]]:
        """Pack the spec for the record: one field for the options, and one field for the targets of each part."""
        options = {
            "request": _without_inputs(self.request.to_record()),
            # Options without effect are left out, because a hundred thousand runs may wait in the store.
            **{name: value for name, value in self.run_options.items() if value is not None and value is not False},
        }
        return pack(options), [pack(inputs_of(part)) for part in self.parts()]

    @classmethod
    def unpacked(cls, spec: bytes, parts: Sequence[bytes]) -> RunSpec:
        """Unpack the spec of a record, with the targets of the given parts."""
        data = unpack(spec)
        inputs = [one for part in parts for one in unpack(part)]
        request = JobCreationRequest.model_validate(_with_inputs(data["request"], inputs), context=KEPT)
        return cls(request, **{"early": False, **_select_run_options(data)})


def _check_seconds(value: Any) -> float:
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
    return _describe_inputs(inputs_of(request))


def _describe_inputs(inputs: Sequence[Any]) -> list[str]:
    return [one if isinstance(one, str) else json.dumps(one, sort_keys=True) for one in inputs]


def decrypt_targets(keys: Keys, run_id: str, name: str, field: bytes) -> list[str]:
    """Return the targets in a field `targets:<n>` of a record. They are readable even if the request is not.

    Raises:
        EncryptionKeyError: If this process cannot decrypt them.
    """
    return _describe_inputs(unpack(keys.decrypt(keys.run(run_id), name, field)))


def _without_inputs(wire: dict[str, Any]) -> dict[str, Any]:
    if "Plugin" in wire:
        return {**wire, "Plugin": {**wire["Plugin"], "Params": []}}
    return {name: value for name, value in wire.items() if name != "Targets"}


def _with_inputs(wire: dict[str, Any], inputs: list[Any]) -> dict[str, Any]:
    if "Plugin" in wire:
        return {**wire, "Plugin": {**wire["Plugin"], "Params": inputs}}
    return {**wire, "Targets": inputs}


def decrypt_run_options(keys: Keys, run_id: str, spec: bytes) -> RunOptions:
    """Return the options in the field `spec` of a record. Options without effect are left out.

    Raises:
        EncryptionKeyError: If this process cannot decrypt them.
    """
    return cast("RunOptions", _select_run_options(unpack(keys.decrypt(keys.run(run_id), "spec", spec))))


def _select_run_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in the unpacked spec of a record."""
    return {name: data[name] for name in RUN_OPTIONS if name in data}


def decrypt_spec(keys: Keys, run_id: str, fields: Mapping[str, bytes]) -> RunSpec:
    """Return the spec of a record's fields `spec`, `targets:0`, `targets:1`, ...

    Raises:
        EncryptionKeyError: If this process cannot decrypt them.
        ValueError: If they are not a request that can be sent.
    """
    key = keys.run(run_id)
    options, *targets = (keys.decrypt(key, name, value) for name, value in fields.items())
    return RunSpec.unpacked(options, targets)
