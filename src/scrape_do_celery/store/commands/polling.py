"""Commands that plan the polls of running jobs, one by one or by a list poll."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.command import Command, Encoded, Value
from scrape_do_celery.store.commands.arguments import decode_names
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys
    from scrape_do_celery.store.part_ids import PartId

#: Up to this number of due jobs, each job is polled by itself. More jobs are, if a list poll would cost more requests.
ONE_BY_ONE = 20
#: Jobs on a page of the job list, and pages of a list poll that are not full.
PAGE, ODD_PAGES = 100, 4
#: The share of the longest poll interval. A job that is due within it counts as due, so that jobs share a list poll.
_SOON = 0.25
#: The shortest and the longest rest between two list polls, in seconds. The rest is as long as the last list poll took.
#: Jobs that become due one after the other then share a list poll.
_REST, _LONGEST_REST = 0.5, 30.0
#: Parts that are moved to `due` at a time if list polls do not end.
_SMALL_BATCH = 50
#: The job itself is read once in this number of polls, because the job list may lag. At the longest interval, this is
#: one poll a day. For 10,000 jobs it costs some 3 requests an interval.
_ITSELF = 2_880
#: Seconds for which the number of pages with other users' jobs is believed.
_OTHERS_FOR = 900.0
#: Parts that are moved to `due` at a time, at most.
BATCH_LIMIT = 500


@dataclass(frozen=True, slots=True)
class PollPlan:
    """The plan for the running jobs of an account: when to plan again by the store's clock, and how to poll.

    `next_at` is None if no job runs. `use_list` tells whether a list poll must start.
    """

    next_at: float | None
    use_list: bool


@dataclass(frozen=True, slots=True)
class PlanPolling(Command[PollPlan]):
    """Move due running parts to `due`, so that each job is polled by itself; if they are many, plan a list poll.

    `interval` is the longest poll interval in seconds. After `auth_grace` seconds, a refused token fails its runs.
    """

    account: str
    interval: float
    auth_grace: float = 900.0
    script = "plan_polling"

    def encode(self, keys: Keys) -> Encoded:
        account, interval = self.account, self.interval
        return Encoded(
            (
                *(ONE_BY_ONE, PAGE, ODD_PAGES, REDISPATCH_MIN, BATCH_LIMIT, keys.prefix),
                *(interval * _SOON, self.auth_grace, _REST / 2, 2 * interval, _SMALL_BATCH, _OTHERS_FOR),
            ),
            [keys.poll_set(account), keys.list_poll(account), keys.due, keys.pause, keys.breaker(account)],
        )

    def decode(self, keys: Keys, reply: Any) -> PollPlan:
        return PollPlan(float(reply[0]) if reply[0] else None, bool(reply[1]))


@dataclass(frozen=True, slots=True)
class AcquireListPoll(Command[bool]):
    """Acquire the list poll of an account for `seconds`, or renew its lease. The result is whether this step holds it.

    If another step holds the list poll, or if no job is due, this step does not get it.
    """

    account: str
    token: str
    seconds: float
    script = "acquire_list_poll"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.token, self.seconds), [keys.list_poll(self.account), keys.poll_set(self.account)])

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class MarkStillRunning(Command[int]):
    """Note that the job list shows the jobs of these parts as running.

    `intervals` has the seconds until the next poll, by the number of polls before.
    """

    account: str
    status: str
    part_ids: Sequence[PartId]
    intervals: Sequence[float]
    script = "mark_still_running"

    def encode(self, keys: Keys) -> Encoded:
        intervals, names = self.intervals, map(str, self.part_ids)
        args: list[Value] = [keys.prefix, self.status, _ITSELF, len(intervals), *intervals, *names]
        return Encoded(args, [keys.poll_set(self.account), keys.due])

    def decode(self, keys: Keys, reply: Any) -> int:
        return int(reply)


@dataclass(frozen=True, slots=True)
class FinishListPoll(Command[list[str]]):
    """End a list poll: move parts that the list did not show to `due`, `BATCH_LIMIT` at a time; the caller publishes.

    If the caller dies, the dispatcher publishes `redispatch_after` seconds later. `others` counts the pages of other
    users' jobs.
    """

    account: str
    token: str
    _: KW_ONLY
    others: float
    redispatch_after: float
    script = "finish_list_poll"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(
            (self.token, keys.prefix, BATCH_LIMIT, self.others, _REST, self.redispatch_after, _LONGEST_REST),
            [keys.poll_set(self.account), keys.list_poll(self.account), keys.due],
        )

    def decode(self, keys: Keys, reply: Any) -> list[str]:
        return decode_names(reply)


@dataclass(frozen=True, slots=True)
class MoveSomeToDue(Command[list[str]]):
    """Move a few parts to `due` after a list poll failed: the oldest of the parts that were due when it began."""

    account: str
    token: str
    script = "finish_list_poll"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(
            (self.token, keys.prefix, _SMALL_BATCH, "", 0, 0, 0),
            [keys.poll_set(self.account), keys.list_poll(self.account), keys.due],
        )

    def decode(self, keys: Keys, reply: Any) -> list[str]:
        return decode_names(reply)


@dataclass(frozen=True, slots=True)
class FindUnattendedAccounts(Command[list[str]]):
    """Find other accounts with a running job whose poll is overdue by more than `seconds`."""

    account: str
    seconds: float
    script = "find_unattended_accounts"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((keys.prefix, self.account, self.seconds), [keys.accounts])

    def decode(self, keys: Keys, reply: Any) -> list[str]:
        return decode_names(reply)
