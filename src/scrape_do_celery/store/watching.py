"""Commands that plan the polls of running jobs, one by one or by a list poll, and that share out requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.claiming import REDISPATCH_MIN
from scrape_do_celery.store.command import Command, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scrape_do_celery.store.keys import Keys, PartId

#: Up to this number of due jobs, each job is polled by itself. More jobs are, if a list poll would cost more requests.
ONE_BY_ONE = 20
#: Jobs on a page of the job list, and pages of a list poll that are not full.
PAGE, ODD_PAGES = 100, 4
#: The share of the longest poll interval. A job that is due within it counts as due, so that jobs share a list poll.
_SOON = 0.25
#: Seconds for which a process keeps its share of requests without asking again; seconds whose starts may come at once.
_QUOTA_TTL, _AT_ONCE = 10.0, 0.25
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
class RequestQuota:
    """The requests of a process: how many may be in flight, how many may start now, and the seconds left of a pause."""

    requests: int
    starts: int
    pause: float


def plan_polling(keys: Keys, account: str, interval: float, auth_grace: float = 900.0) -> Command[PollPlan]:
    """Move due running parts to `due`, so that each job is polled by itself; if they are many, plan a list poll.

    `interval` is the longest poll interval in seconds. After `auth_grace` seconds, a refused token fails its runs.
    """
    args: tuple[Value, ...] = (
        ONE_BY_ONE,
        PAGE,
        ODD_PAGES,
        REDISPATCH_MIN,
        BATCH_LIMIT,
        keys.prefix,
        interval * _SOON,
        auth_grace,
    )
    args += (_REST / 2, 2 * interval, _SMALL_BATCH, _OTHERS_FOR)
    return Command(
        _poll_plan,
        args,
        [keys.poll_set(account), keys.list_poll(account), keys.due, keys.pause, keys.breaker(account)],
        "plan_polling",
    )


def acquire_list_poll(keys: Keys, account: str, token: str, seconds: float) -> Command[bool]:
    """Acquire the list poll of an account for `seconds`, or renew its lease. Return whether this step holds it.

    If another step holds the list poll, or if no job is due, this step does not get it.
    """
    keys_ = [keys.list_poll(account), keys.poll_set(account)]
    return Command(bool, (token, seconds), keys_, "acquire_list_poll")


def mark_still_running(
    keys: Keys, account: str, status: str, part_ids: Iterable[PartId], intervals: Sequence[float]
) -> Command[int]:
    """Note that the job list shows the jobs of these parts as running.

    `intervals` has the seconds until the next poll, by the number of polls before.
    """
    args: list[Value] = [keys.prefix, status, _ITSELF, len(intervals), *intervals, *map(str, part_ids)]
    return Command(int, args, [keys.poll_set(account), keys.due], "mark_still_running")


def finish_list_poll(
    keys: Keys, account: str, token: str, *, others: float, redispatch_after: float
) -> Command[list[str]]:
    """End a list poll: move parts that the list did not show to `due`, `BATCH_LIMIT` at a time; the caller publishes.

    If the caller dies, the dispatcher publishes `redispatch_after` seconds later. `others` counts the pages of other
    users' jobs.
    """
    args = (token, keys.prefix, BATCH_LIMIT, others, _REST, redispatch_after, _LONGEST_REST)
    return Command(_names, args, [keys.poll_set(account), keys.list_poll(account), keys.due], "finish_list_poll")


def allocate_requests(  # noqa: PLR0913 (a limit an argument)
    keys: Keys,
    process: str,
    wanted: int,
    under_way: int,
    *,
    limit: int,
    rate: float | None = None,
    counted: Mapping[str, float] | None = None,
) -> Command[RequestQuota]:
    """Allocate to a process its share of `limit` requests in flight, and of `rate` starts per second, of all processes.

    The store adds the counts in `counted` to the totals. If the command is sent twice, they are added twice.
    """
    args: list[Value] = [process, wanted, under_way, limit, _QUOTA_TTL, "" if rate is None else rate, _AT_ONCE]
    args += [one for pair in (counted or {}).items() for one in pair]
    redis_keys = [keys.quota, keys.next_request_at, keys.pause, keys.totals, keys.stored]
    return Command(lambda r: RequestQuota(int(r[0]), int(r[1]), float(r[2])), args, redis_keys, "allocate_requests")


def move_some_to_due(keys: Keys, account: str, token: str) -> Command[list[str]]:
    """Move a few parts to `due` after a list poll failed: the oldest of the parts that were due when it began."""
    args = (token, keys.prefix, _SMALL_BATCH, "", 0, 0, 0)
    return Command(_names, args, [keys.poll_set(account), keys.list_poll(account), keys.due], "finish_list_poll")


def find_unattended_accounts(keys: Keys, account: str, seconds: float) -> Command[list[str]]:
    """Find other accounts with a running job whose poll is overdue by more than `seconds`."""
    args = (keys.prefix, account, seconds)
    return Command(_names, args, [keys.accounts], "find_unattended_accounts")


def _names(reply: Sequence[bytes]) -> list[str]:
    return [name.decode() for name in reply]


def _poll_plan(reply: Sequence[Any]) -> PollPlan:
    return PollPlan(float(reply[0]) if reply[0] else None, bool(reply[1]))
