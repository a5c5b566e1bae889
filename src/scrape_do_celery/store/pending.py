"""Decide which commands of an exchange with the store are sent again, and which error the others end with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from redis.backoff import ExponentialBackoff
from redis.exceptions import TimeoutError as RedisTimeoutError

from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.store.refusals import (
    LOST,
    NEEDS_HASH_TAG,
    NO_PRIMARY,
    SLOT_REASONS,
    find_reason,
    is_passing,
    is_repeatable,
    needs_hash_tag,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.deadlines import CallDeadline

C = TypeVar("C")

#: A command fails if the store is down for longer than these attempts take. The dispatcher publishes its step later.
_ATTEMPTS, _BACKOFF = 5, ExponentialBackoff(cap=0.5, base=0.05)


#: Attempts while a slot of a cluster moves, or its nodes elect a primary. The node names the end of neither.
_PATIENT_ATTEMPTS: Final = 25
_WAITED_FOR: Final = SLOT_REASONS | {"CLUSTERDOWN"}


def _may_be_sent(reply: Any) -> bool:
    """Return whether a command may have reached a server whose answer is missing."""
    return isinstance(reply, LOST) and find_reason(reply) != NO_PRIMARY


class PendingCommands(Generic[C]):
    """The commands of one exchange that have no final reply yet, and what is known of their attempts.

    A command may be sent twice without harm, so each attempt sends all commands that met an error which may pass.
    """

    def __init__(self, commands: Sequence[C], where: str, *, has_hash_tag: bool = False) -> None:
        self._commands, self._where, self._has_hash_tag = commands, where, has_hash_tag
        self._replies: dict[int, Any] = {}
        self._left, self._failures = list(range(len(commands))), 0
        #: whether the store may have carried out commands although an error is raised
        self._was_sent = len(commands) > 1

    @property
    def commands(self) -> list[C]:
        """The commands of the next attempt."""
        return [self._commands[number] for number in self._left]

    def note(self, replies: Sequence[Any], deadline: CallDeadline) -> float | None:
        """Note the replies or errors of an attempt. Return the seconds until the next attempt, None for no other."""
        for number, reply in zip(self._left, replies, strict=True):
            # The last attempt may only run out of time. The error of an earlier attempt says why.
            if number not in self._replies or not isinstance(reply, RedisTimeoutError):
                self._replies[number] = reply
        self._was_sent |= any(_may_be_sent(reply) for reply in replies) and not deadline.is_unconnected
        self._left = [number for number in self._left if self._may_pass(self._replies[number])]
        self._failures += 1
        wait = _BACKOFF.compute(self._failures)
        is_waiting = any(find_reason(self._replies[number]) in _WAITED_FOR for number in self._left)
        attempts = _PATIENT_ATTEMPTS if self._has_hash_tag and is_waiting else _ATTEMPTS
        return wait if self._left and self._failures < attempts and wait < deadline.left else None

    def _may_pass(self, reply: Any) -> bool:
        return is_repeatable(reply) and not (needs_hash_tag(reply) and not self._has_hash_tag)

    @property
    def answers(self) -> list[Any]:
        """The reply or the error of each command."""
        return [self._judge(self._replies[number]) for number in range(len(self._commands))]

    def _judge(self, reply: Any) -> Any:
        if not self._has_hash_tag and needs_hash_tag(reply):
            error = ConfigurationError(NEEDS_HASH_TAG)
            error.__cause__ = reply
            return error
        if not is_passing(reply):
            return reply
        reason = find_reason(reply)
        text = str(reply) if not reason or reason in str(reply) else f"{reason} {reply}"
        hint = " (its slot moves to another node)" if reason in SLOT_REASONS else ""
        failure = StoreUnavailableError(f"the store at {self._where}: {text}{hint}", *([reason] if reason else []))
        failure.was_sent = self._was_sent
        failure.__cause__ = reply
        return failure
