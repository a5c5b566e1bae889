"""Mutations: changes of the answers of one kind, for some time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.wire.messages import MutableResponse

#: Virtual seconds for which a mutation of the span `window` lasts, from the first answer that it could change.
WINDOW = 120.0
#: Spans of a mutation: one answer, two minutes, all answers for one task, all answers.
SPANS = ("once", "window", "one", "ever")
#: Spans that end by themselves.
TRANSIENT = ("once", "window")


@dataclass(frozen=True)
class Mutation:
    """A change of answers of one kind. `what` names the change of `field`, and `span` says how long it lasts."""

    scenario: str
    kind: str
    field: str
    what: str
    span: str
    apply: Callable[[MutableResponse], None] = field(compare=False, repr=False)
    #: more facts for the oracle, such as the status and the kind of body
    facts: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The name under which `--only` finds the mutation."""
        return f"{self.scenario}/{self.kind}/{self.field}/{self.what}/{self.span}"


class ActiveMutation:
    """A mutation at work on the answers of one play."""

    def __init__(self, mutation: Mutation, now: Callable[[], float]) -> None:
        self._mutation, self._now = mutation, now
        self._since: float | None = None
        self._chosen = ""

    def __call__(self, response: MutableResponse) -> bool:
        """Change the answer if the mutation applies to it. Return whether it was changed."""
        one = self._mutation
        if response.request.kind != one.kind or not self.is_on(response):
            return False
        one.apply(response)
        return True

    def is_on(self, response: MutableResponse) -> bool:
        """Return whether the mutation is active at this answer. The first call starts its time."""
        first = self._since is None
        if first:
            self._since, self._chosen = self._now(), response.request.path
        span = self._mutation.span
        if span == "once":
            return first
        if span == "window":
            return self._now() - (self._since or 0.0) < WINDOW
        return span == "ever" or response.request.path == self._chosen
