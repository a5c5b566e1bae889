"""The options of a run, declared once; the checked spec of a run, and its form in the record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
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
from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import show_key
from scrape_do_celery.redaction import request_fields, request_summary
from scrape_do_celery.rules.budgets import account_scope, tag_scope
from scrape_do_celery.store.codec import pack, unpack
from scrape_do_celery.store.inputs import RunInputs
from scrape_do_celery.store.option_checks import (
    check_fairness_key,
    check_flag,
    check_label,
    check_priority,
    check_seconds,
    check_webhook,
    check_weight,
)
from scrape_do_celery.store.request_inputs import inputs_of, wire_inputs_of, with_inputs, with_items, without_inputs

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
    #: a name for people, such as `prices`, of 64 bytes at most: monitors, logs and the ledger show the label, and runs
    #: are found by it. Many runs may share a label. Labels are never encrypted.
    label: str | None
    #: a word of up to 64 bytes, such as `customer:7`: if jobs wait for a slot, keys take turns, by the credits of their
    #: jobs. Runs with None, the default, share one key. Keys are never encrypted.
    fairness_key: str | None
    #: the share of the key while other keys wait, from 0.001 to 1000; 1 by default. With 2, the jobs of the run count
    #: half for their key. All runs of a key should have the same weight.
    fairness_weight: float
    #: the rank of the run among the waiting runs of its key, from -9 to 9; 0 by default, and higher numbers go first
    priority: int
    #: where a worker writes the pages when the run has ended: an absolute path or a URL of fsspec such as
    #: `s3://bucket/{schedule}/{time}.jsonl`, or `ExportOptions`. None, the default, writes no files
    export: str | ExportOptions | None
    #: whether Scrape.do calls your receiver at the end of each task, so that results need no polls; None, the default,
    #: takes `SCRAPE_DO_WEBHOOKS`. Needs `SCRAPE_DO_WEBHOOK_BASE_URL` and `SCRAPE_DO_WEBHOOK_KEYS`. The same request
    #: with another value is the same request.
    webhook: bool | None


#: The names of the run options.
RUN_OPTIONS: Final = tuple(RunOptions.__annotations__)
#: The options that a record does not keep among the packed options.
_KEPT_APART: Final = ("dedupe", "label", "webhook")
#: The options that make no other request: two specs that differ only in them are equal, and have the same digest.
_WITHOUT_IDENTITY: Final = frozenset({"webhook"})


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
    label: str | None = None
    fairness_key: str | None = None
    fairness_weight: float = 1.0
    priority: int = 0
    export: str | ExportOptions | None = None
    webhook: bool | None = field(default=None, compare=False)
    #: the inputs of the caller, if they have data or share targets
    inputs: RunInputs | None = None
    #: the targets of each part but the last; None for as many as a job may have. Two specs that differ only in it are
    #: the same request.
    part_size: int | None = field(default=None, compare=False)

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
        object.__setattr__(self, "label", check_label(self.label))
        object.__setattr__(self, "fairness_key", check_fairness_key(self.fairness_key))
        object.__setattr__(self, "fairness_weight", check_weight(self.fairness_weight, self.fairness_key))
        object.__setattr__(self, "priority", check_priority(self.priority))
        object.__setattr__(self, "export", read_export(self.export))
        object.__setattr__(self, "webhook", check_webhook(self.webhook, self.request))

    def _dedupe_inputs(self) -> None:
        inputs = self.inputs or RunInputs()
        if inputs.is_deduped:
            return
        items, inputs = inputs.dedupe(inputs_of(self.request))
        object.__setattr__(self, "inputs", inputs)
        if inputs.sources is not None:
            object.__setattr__(self, "request", with_items(self.request, items))

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

    @property
    def share(self) -> str:
        """Priority, weight and fairness key, as scripts read them; empty if the run sets none of them."""
        if self.fairness_key is None and not self.priority:
            return ""
        return f"{self.priority} {self.fairness_weight!r} {self.fairness_key or ''}"

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
        options = {name: value for name, value in self.run_options.items() if name not in _WITHOUT_IDENTITY}
        changed = {name: value for name, value in options.items() if value != getattr(defaults, name)}
        identity = self.inputs.identity if self.inputs else []
        text = json.dumps([self.request.canonical(), changed, *identity], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def differing_fields(self, other: RunSpec) -> tuple[str, ...]:
        """Return the names of the fields in which two specs differ."""
        names = list(self._given_request().differing_fields(other._given_request()))
        names += ["meta"] if self._meta_identity() != other._meta_identity() else []
        options = [name for name in RUN_OPTIONS if name not in _WITHOUT_IDENTITY]
        names += [name for name in options if getattr(self, name) != getattr(other, name)]
        return tuple(names)

    def _given_request(self) -> JobCreationRequest:
        """Return the request with the targets of all inputs."""
        if self.inputs is None or self.inputs.sources is None:
            return self.request
        return with_items(self.request, self.inputs.expand(inputs_of(self.request)))

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

    def select_targets(self, indexes: Sequence[int], **options: Unpack[RunOptions]) -> Self:
        """Return the spec of a child, for the inputs of some targets. `options` replace those of the run.

        A child has no export of its run: its pages belong beside those of the run, and the destination may be the same.

        Raises:
            ValueError: an option is wrong, or there is no such option.
        """
        if unknown := [name for name in options if name not in RUN_OPTIONS]:
            hints = [f"no option {show_key(name)}{suggest_name(name, RUN_OPTIONS)}" for name in unknown]
            raise ValueError("; ".join(hints))
        items = inputs_of(self.request)
        sources, inputs = (self.inputs or RunInputs()).select(indexes, len(items))
        # The record of an older version may hold what is refused now. The targets were checked when they came.
        request = with_items(self.request, [items[source] for source in sources])
        merged: RunOptions = {**self.run_options, "export": None, **options}
        return type(self)(request, inputs=inputs, **merged)

    def parts(self) -> list[JobCreationRequest]:
        """Return the requests of the parts, in input order."""
        return self.request.split(self.targets_per_part)

    @property
    def targets_per_part(self) -> int:
        """The targets of each part but the last."""
        return self.part_size or MAX_TARGETS_PER_JOB

    def split_by(self, part_size: int) -> Self:
        """Return the spec with this number of targets in each part but the last."""
        return replace(self, part_size=part_size)

    def request_summary(self, *, hosts: bool = True) -> dict[str, Any]:
        """Return the public summary of the spec."""
        return request_summary({**request_fields(self.request), **self.run_options}, hosts=hosts)

    def packed(self) -> tuple[bytes, list[bytes]]:
        """Pack the spec for the record: one field for the options, and one field for the targets of each part."""
        options = {
            "request": without_inputs(self.request.to_record()),
            # Options without effect are left out, because a hundred thousand runs may wait in the store.
            # Some are in fields of their own: scripts compare the options of requests, which these do not change.
            **{
                name: value
                for name, value in self.run_options.items()
                if name not in _KEPT_APART and value not in (None, False, (), getattr(RunSpec, name))
            },
        }
        return pack(options), [pack(wire_inputs_of(part)) for part in self.parts()]

    @property
    def input_count(self) -> int | None:
        """The number of inputs, if the record has fields for their data; else None."""
        return None if self.inputs is None else self.inputs.count(self.request.size)

    def packed_inputs(self) -> list[bytes]:
        """Pack the inputs for the record, in one field for each part; no field if the request says all."""
        return [] if self.inputs is None else self.inputs.packed(self.request.size, self.targets_per_part)

    @classmethod
    def unpacked(cls, spec: bytes, parts: Sequence[bytes], given: Sequence[bytes] = (), **apart: Any) -> RunSpec:
        """Unpack the spec of a record, with the targets of the given parts, and with their inputs if it has them.

        `apart` are options that the record keeps in fields of their own.
        """
        data, found = unpack(spec), RunInputs.unpacked(given) if given else None
        targets = [unpack(part) for part in parts]
        inputs = [one for part in targets for one in part]
        request = JobCreationRequest.model_validate(with_inputs(data["request"], inputs), context=KEPT)
        options = {"early": False, **select_run_options(data), "dedupe": found is not None and found.is_deduped}
        # The process that wrote the run has split it by its own setting. One part does not tell the size.
        part_size = len(targets[0]) if len(targets) > 1 else None
        return cls(request, inputs=found, part_size=part_size, **{**options, **apart})


def refuse_second_targets(options: Iterable[str]) -> None:
    """Refuse targets among the options of a call whose first argument has targets. One of both would be dropped.

    Raises:
        ValueError: the options have targets.
    """
    for name in {"targets", "Targets"}.intersection(options):
        raise ValueError(f"{name}: the first argument of the call has the targets already; leave {name} out")


def select_run_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in the unpacked spec of a record."""
    return {name: data[name] for name in RUN_OPTIONS if name in data}
