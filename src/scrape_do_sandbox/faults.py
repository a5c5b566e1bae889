"""The fault rules: the calls that a rule matches, how often it fires, and its action."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from scrape_do_sandbox.calls import Kind
from scrape_do_sandbox.encodings import ENCODINGS
from scrape_do_sandbox.mutations import MUTATION_NAMES
from scrape_do_sandbox.options import WRITER_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_sandbox.calls import ApiCall

Action = Literal[
    "status", "html", "empty_204", "redirect_302", "gone", "not_found_at_first",
    "reset_before", "reset_after", "accept_late", "slow", "drip", "cut",
    "nulls", "list_headers", "zero_times", "naive_times", "skew", "unknown_status", "fractional_credits",
    "bad_base64", "shuffle_task_ids", "normalise_urls", "write_urls", "mutate", "headers", "encoding",
    "list_lag", "list_null_start", "list_repeats", "list_skips", "start_skew", "date_skew", "other_job",
    "webhook_duplicate", "webhook_lose", "webhook_late", "webhook_shuffle", "webhook_early", "webhook_trim",
    "webhook_other_content", "webhook_other_task", "webhook_body", "webhook_chunked", "webhook_no_headers",
    "task_fails", "task_answers", "task_takes", "job_cancels", "job_urls", "job_shuffles",
]  # fmt: skip

BodyKind = Literal["api", "html", "gateway", "empty_object", "empty_list", "null", "text", "empty"]

_READS = frozenset({"get_job", "get_task"})
_API = frozenset(get_args(Kind)) - {"webhook", "other"}
_NATURAL: dict[str, frozenset[str]] = {
    "accept_late": frozenset({"create_job"}),
    "gone": frozenset({"get_task"}),
    "not_found_at_first": _READS,
    "fractional_credits": frozenset({"me"}),
    "bad_base64": frozenset({"get_task"}),
    "list_lag": frozenset({"list_jobs"}),
    "list_null_start": frozenset({"list_jobs"}),
    "list_repeats": frozenset({"list_jobs"}),
    "list_skips": frozenset({"list_jobs"}),
    "other_job": frozenset({"create_job"}),
    **{action: frozenset({"webhook"}) for action in get_args(Action) if action.startswith("webhook_")},
    # The answer to the purchase waits for the delivery.
    "webhook_early": frozenset({"create_job"}),
    # The outcome of a job is decided when the job is created.
    "task_fails": frozenset({"create_job"}),
    "task_answers": frozenset({"create_job"}),
    "task_takes": frozenset({"create_job"}),
    "job_cancels": frozenset({"create_job"}),
    "job_urls": frozenset({"create_job"}),
    "job_shuffles": frozenset({"create_job"}),
}
#: Actions that are decided once for a delivery. All others of a webhook are decided for each of its calls.
_PER_DELIVERY = frozenset({"webhook_duplicate", "webhook_lose", "webhook_late", "webhook_shuffle"})
#: Actions on answers that a rule with the kind `webhook` applies to the calls of webhooks.
_ON_CALLS = frozenset(
    {
        *("nulls", "list_headers", "zero_times", "naive_times", "skew", "unknown_status", "bad_base64", "mutate"),
        *("write_urls", "headers", "encoding", "drip", "cut", "reset_after"),
    }
)
#: Actions whose `value` must be one of these names.
_VALUES: dict[str, tuple[str, ...]] = {
    "write_urls": WRITER_NAMES,
    "job_urls": WRITER_NAMES,
    "mutate": MUTATION_NAMES,
    "encoding": tuple(ENCODINGS),
}


class FaultRule(BaseModel):
    """A fault: the calls that it matches, how often it fires, and its effect. An unset match field matches any call."""

    model_config = ConfigDict(extra="forbid")

    action: Action
    id: str = ""

    method: str | None = None
    kind: Kind | None = None
    job_id: str | None = None
    target: str | None = None
    """A part of any target of the call's job, or of the task's own URL. A `task_...` action affects these targets only.
    """

    times: int | None = Field(default=None, ge=1)
    """The number of calls on which the rule fires; unlimited if None."""
    after: int = Field(default=0, ge=0)
    """The number of matching calls that pass unchanged before the rule may fire."""
    probability: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0

    status: int = 503
    retry_after: str | int | float | None = None
    body: str | None = None
    html: bool = False
    body_kind: BodyKind | None = None
    """The kind of the body that `status` or `webhook_body` sends, in place of `body` and `html`."""
    headers: dict[str, str] = Field(default_factory=dict)
    seconds: float = 1.0
    """Delay, pause between two bytes, lag, skew, age or duration, depending on the action.

    `webhook_shuffle` delays each delivery by a random part of it. `webhook_early` waits for this time at most.
    """
    size: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Bytes of the header line that `headers` adds (9,000), or of the decoded `gzip_bomb` (100,000,000).

    For `webhook_trim`, the number of characters of the content that stay; none if None.
    """
    count: int = Field(default=1, ge=1)
    """The number of jobs that `list_repeats` repeats, or `list_skips` skips, between two pages.

    For `webhook_early`, the number of deliveries for which the answer to the purchase waits.
    """
    value: str | None = None
    """The status that `unknown_status` shows, or the location that `redirect_302` sends.

    For `write_urls`, `job_urls`, `mutate` and `encoding`, the name that they need. With `unbought`, `other_job` creates
    no job. With `other_job`, `webhook_other_task` sends a task of another job.
    """
    fields: list[str] | None = None
    """The keys that `nulls` sets to null; if None, every map, list, number and flag.

    For `mutate`, the paths that it changes, such as `Tasks[].Status`; if None, the whole body.
    """

    seen: int = 0
    fired: int = 0
    _random: random.Random = PrivateAttr()

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        names = _VALUES.get(self.action)
        if names and self.value not in names:
            raise ValueError(f"value of {self.action} must be one of {', '.join(names)}")
        if self.kind == "webhook" and not self.is_for("webhook"):
            raise ValueError(f"{self.action} does not fit webhooks; leave kind out, or name another kind")
        return self

    def model_post_init(self, context: object, /) -> None:
        """Give the rule a random generator of its own."""
        super().model_post_init(context)
        self._random = random.Random(self.seed)

    def is_for(self, kind: Kind) -> bool:
        """Tell whether the rule applies to calls of this kind."""
        if kind == "webhook" == self.kind and self.action in _ON_CALLS:
            return True
        return kind in _NATURAL.get(self.action, _API) and self.kind in {None, kind}

    def matches_call(self, call: ApiCall) -> bool:
        """Tell whether the rule matches this call, however often it has fired."""
        return (
            self.is_for(call.kind)
            and (self.method or call.method).upper() == call.method
            and self.job_id in {None, call.job_id}
            and (self.target is None or any(self.target in target for target in call.targets))
        )

    def fires_on(self, call: ApiCall) -> bool:
        """Count this call if the rule matches it, and tell whether the rule fires on it."""
        if (self.times is not None and self.fired >= self.times) or not self.matches_call(call):
            return False
        self.seen += 1
        if self.seen <= self.after or self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True


class FaultRules:
    """The active rules, in the order in which they were added."""

    def __init__(self) -> None:
        self.rules: list[FaultRule] = []
        self._count = 0
        # Rules by kind: a call without a rule must cost no more when thousands of rules are active.
        self._by_kind: dict[Kind, list[FaultRule]] = {}

    def add_rules(self, rules: Iterable[FaultRule]) -> list[str]:
        """Add rules and return their ids."""
        ids = []
        for rule in rules:
            self._count += 1
            rule.id = rule.id or f"fault-{self._count}"
            self.rules.append(rule)
            ids.append(rule.id)
        self._by_kind.clear()
        return ids

    def clear(self) -> None:
        """Remove all rules."""
        self.rules.clear()
        self._by_kind.clear()

    def find_firing(self, call: ApiCall, *, per_delivery: bool = False) -> list[FaultRule]:
        """Return the rules that fire on this call, or on the whole delivery of a webhook."""
        if call.kind not in self._by_kind:
            self._by_kind[call.kind] = [rule for rule in self.rules if rule.is_for(call.kind)]
        rules = [rule for rule in self._by_kind[call.kind] if (rule.action in _PER_DELIVERY) is per_delivery]
        firing = [rule for rule in rules if rule.fires_on(call)]
        call.applied.extend(rule.action for rule in firing)
        return firing
