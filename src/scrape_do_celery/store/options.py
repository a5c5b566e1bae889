"""The options of a run, declared once; the checked spec of a run, and its form in the record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from math import floor
from typing import TYPE_CHECKING, Any, Final, Self, Unpack, cast

from pydantic import BaseModel
from typing_extensions import TypedDict

from scrape_do_celery.config.budget_limits import MC_PER_CREDIT, check_credits, check_tags
from scrape_do_celery.export.options import ExportOptions, check_new_export, read_export
from scrape_do_celery.models import MAX_TARGETS_PER_JOB, JobCreationRequest, RequestFields
from scrape_do_celery.models.sendable import KEPT, as_list
from scrape_do_celery.models.targets import split_targets
from scrape_do_celery.redaction import request_fields, request_summary
from scrape_do_celery.rules.budgets import account_scope, tag_scope
from scrape_do_celery.store.codec import pack, unpack
from scrape_do_celery.store.inputs import RunInputs
from scrape_do_celery.store.option_checks import check_flag, check_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scrape_do_celery.models import ForeignModel
    from scrape_do_celery.models.targets import TargetInput

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
    #: whether equal targets are bought once; False by default. The result has an entry for each input all the same.
    #: Targets are equal if their texts are equal, and parameter sets of a plugin if their JSON is equal.
    dedupe: bool
    #: credits, more than 0, that the run may cost: a run with a higher estimate is refused, and no part is bought that
    #: could cost more than is left; None, the default, sets no limit
    max_credits: float | None
    #: up to 8 words, such as `shop:7`, each of 64 bytes at most: budgets and reports are kept for each tag. Tags are
    #: never encrypted.
    tags: Sequence[str]
    #: where a worker writes the pages when the run has ended: an absolute path or a URL of fsspec such as
    #: `s3://bucket/{schedule}/{time}.jsonl`, or `ExportOptions`. None, the default, writes no files
    export: str | ExportOptions | None


#: The names of the run options.
RUN_OPTIONS: Final = tuple(RunOptions.__annotations__)


class EnqueueOptions(RunOptions, RequestFields, total=False, closed=True):
    """The keyword arguments that describe a run: its options, and the fields of its request."""


@dataclass(frozen=True)
class RunSpec:
    """The request of a run, and the options of the run. The fields after `request` are those of `RunOptions`.

    The request has the targets that are bought. With `dedupe`, each target is in it once.
    """

    request: JobCreationRequest
    raise_on_task_failure: bool = False
    max_wait: float | None = None
    early: bool | None = None
    dedupe: bool = False
    max_credits: float | None = None
    tags: Sequence[str] = ()
    export: str | ExportOptions | None = None
    #: the inputs of the caller, if they have data or share targets
    inputs: RunInputs | None = None

    def __post_init__(self) -> None:
        # Equal values of other types are the same request: 60 and 60.0, False and 0.
        for name in ("raise_on_task_failure", "dedupe"):
            object.__setattr__(self, name, check_flag(name, getattr(self, name)))
        if self.dedupe:
            self._dedupe_inputs()
        early = self.request.size >= EARLY_FROM if self.early is None else check_flag("early", self.early)
        object.__setattr__(self, "early", early)
        object.__setattr__(self, "max_wait", check_seconds("max_wait", self.max_wait))
        object.__setattr__(self, "max_credits", check_credits("max_credits", self.max_credits))
        object.__setattr__(self, "tags", check_tags(self.tags))
        object.__setattr__(self, "export", read_export(self.export))

    def _dedupe_inputs(self) -> None:
        inputs = self.inputs or RunInputs()
        if inputs.is_deduped:
            return
        items, inputs = inputs.dedupe(inputs_of(self.request))
        object.__setattr__(self, "inputs", inputs)
        if inputs.sources is not None:
            object.__setattr__(self, "request", _with_items(self.request, items))

    @classmethod
    def from_arguments(
        cls,
        targets: Iterable[TargetInput] | JobCreationRequest | ForeignModel | None = None,
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
        if isinstance(targets, BaseModel):
            # The request is checked again: a copy of a model may have fields that were never checked. The object of
            # another library was not checked by these rules.
            request = JobCreationRequest.model_validate(targets)
            if fields:
                raise ValueError(
                    f"{', '.join(sorted(fields))}: set these fields in the JobCreationRequest, not as arguments"
                )
            return cls(request, **run_options)
        if targets is not None:
            refuse_second_targets(fields)
            fields["targets"] = targets
        return cls.from_fields(fields, run_options)

    @classmethod
    def from_fields(
        cls, fields: Mapping[str, Any], run_options: Mapping[str, Any], context: Mapping[str, Any] | None = None
    ) -> Self:
        """Return the checked spec of a request's fields, whose targets may have data, and of the options of the run.

        `context` is that of the validation.

        Raises:
            ValueError: a field is wrong.
        """
        fields, metas = dict(fields), None
        name = "targets" if fields.get("targets") is not None else "Targets"
        if (targets := as_list(fields.get(name), "targets", "URLs")) is not None:
            fields[name], metas = split_targets(targets)
        request = JobCreationRequest.model_validate(fields, context=context)
        return cls(request, inputs=None if metas is None else RunInputs(metas=metas), **run_options)

    def check_export(self, *, is_scheduled: bool) -> None:
        """Check what only the export of a new run needs, as `check_new_export` does."""
        if self.export is not None:
            check_new_export(cast("ExportOptions", self.export), is_scheduled=is_scheduled)

    @property
    def max_mc(self) -> int | None:
        """The thousandths of a credit that the run may cost, rounded down; None without a limit."""
        return None if self.max_credits is None else floor(self.max_credits * MC_PER_CREDIT)

    def budget_scopes(self, account: str) -> frozenset[str]:
        """Return the scopes of the budgets that the run falls under, if `account` buys its jobs."""
        return frozenset({account_scope(account), *map(tag_scope, self.tags)})

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
        identity = self.inputs.identity if self.inputs else []
        text = json.dumps([self.request.canonical(), changed, *identity], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def differing_fields(self, other: RunSpec) -> tuple[str, ...]:
        """Return the names of the fields in which two specs differ."""
        names = list(self._given_request().differing_fields(other._given_request()))
        names += ["meta"] if self._meta_identity() != other._meta_identity() else []
        names += [name for name in RUN_OPTIONS if getattr(self, name) != getattr(other, name)]
        return tuple(names)

    def _given_request(self) -> JobCreationRequest:
        """Return the request with the targets of all inputs."""
        if self.inputs is None or self.inputs.sources is None:
            return self.request
        return _with_items(self.request, self.inputs.expand(inputs_of(self.request)))

    def _meta_identity(self) -> Any:
        identity = self.inputs.identity if self.inputs else []
        return identity[1] if identity else None

    def given_inputs(self) -> dict[str, Any]:
        """Return the field of the request that has the inputs, as JSON with the `meta` of each target."""
        request = self._given_request()
        if request.plugin is not None:
            return {"plugin": request.plugin.model_dump(mode="json")}
        targets, metas = request.targets or [], self.inputs.metas if self.inputs else None
        if metas is None:
            return {"targets": targets}
        pairs = zip(targets, metas, strict=True)
        return {"targets": [url if one is None else {"url": url, "meta": json.loads(one)} for url, one in pairs]}

    def select_targets(self, indexes: Sequence[int]) -> Self:
        """Return the spec of another run with the same options, for the inputs of some targets of the request.

        The other run has no export: its pages belong beside those of this run, and its destination may be the same.
        """
        items, inputs = inputs_of(self.request), None
        if self.inputs is not None:
            indexes, metas = self.inputs.select(indexes, len(items))
            inputs = None if metas is None else RunInputs(metas=metas)
        # The record of an older version may hold what is refused now. The targets were checked when they came.
        request = _with_items(self.request, [items[index] for index in indexes])
        return replace(type(self)(request, inputs=inputs, **self.run_options), export=None)

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
            # `dedupe` is in the field of the inputs: scripts compare the options of requests, which it does not change.
            **{
                name: value
                for name, value in self.run_options.items()
                if value is not None and value is not False and value != () and name != "dedupe"
            },
        }
        return pack(options), [pack(wire_inputs_of(part)) for part in self.parts()]

    @property
    def input_count(self) -> int | None:
        """The number of inputs, if the record has fields for their data; else None."""
        return None if self.inputs is None else self.inputs.count(self.request.size)

    def packed_inputs(self) -> list[bytes]:
        """Pack the inputs for the record, in one field for each part; no field if the request says all."""
        return [] if self.inputs is None else self.inputs.packed(self.request.size)

    @classmethod
    def unpacked(cls, spec: bytes, parts: Sequence[bytes], given: Sequence[bytes] = ()) -> RunSpec:
        """Unpack the spec of a record, with the targets of the given parts, and with their inputs if it has them."""
        data, found = unpack(spec), RunInputs.unpacked(given) if given else None
        inputs = [one for part in parts for one in unpack(part)]
        request = JobCreationRequest.model_validate(_with_inputs(data["request"], inputs), context=KEPT)
        options = {"early": False, **select_run_options(data), "dedupe": found is not None and found.is_deduped}
        return cls(request, inputs=found, **options)


def refuse_second_targets(options: Iterable[str]) -> None:
    """Refuse targets among the options of a call whose first argument has targets. One of both would be dropped.

    Raises:
        ValueError: the options have targets.
    """
    for name in {"targets", "Targets"}.intersection(options):
        raise ValueError(f"{name}: the first argument of the call has the targets already; leave {name} out")


def inputs_of(request: JobCreationRequest) -> list[Any]:
    """Return the targets of a request, or the parameter sets of its plugin."""
    return list(request.targets or ()) if request.plugin is None else list(request.plugin.params)


def wire_inputs_of(request: JobCreationRequest) -> list[Any]:
    """Return the targets of a request, or the parameter sets of its plugin, as the API and the record get them."""
    return list(request.targets or ()) if request.plugin is None else request.plugin.wire_sets()


def _with_items(request: JobCreationRequest, items: Sequence[Any]) -> JobCreationRequest:
    """Return the request with some of its own targets or parameter sets, which were checked before."""
    if request.plugin is None:
        return request.model_copy(update={"targets": list(items)})
    return request.model_copy(update={"plugin": request.plugin.model_copy(update={"params": list(items)})})


def targets_of(request: JobCreationRequest) -> list[str]:
    """Return the targets of a request; for a plugin, a text for each parameter set, which is only a fingerprint."""
    return describe_inputs(wire_inputs_of(request))


def describe_inputs(inputs: Sequence[Any]) -> list[str]:
    """Return the targets as they are, and a text for each parameter set."""
    return [one if isinstance(one, str) else json.dumps(one, sort_keys=True) for one in inputs]


def _without_inputs(wire: dict[str, Any]) -> dict[str, Any]:
    if "Plugin" in wire:
        return {**wire, "Plugin": {**wire["Plugin"], "Params": []}}
    return {name: value for name, value in wire.items() if name != "Targets"}


def _with_inputs(wire: dict[str, Any], inputs: list[Any]) -> dict[str, Any]:
    if "Plugin" in wire:
        return {**wire, "Plugin": {**wire["Plugin"], "Params": inputs}}
    return {**wire, "Targets": inputs}


def select_run_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in the unpacked spec of a record."""
    return {name: data[name] for name in RUN_OPTIONS if name in data}
