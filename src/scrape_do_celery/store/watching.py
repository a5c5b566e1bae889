"""The commands of looking at running jobs: each by itself, or all of an account by its job list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.claiming import REDISPATCH_MIN
from scrape_do_celery.store.command import Command, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scrape_do_celery.store.keys import Keys, PartId

#: Up to so many jobs that are due, each is looked at by itself; and however many, where the list would cost more.
ONE_BY_ONE = 20
#: Jobs on a page of the list, and pages that are not full.
PAGE, ODD_PAGES = 100, 4
#: The share of an interval within which what is due is looked at together.
_SOON = 0.25
#: Seconds for which a process keeps its share without another word, and whose starts may come at once.
_QUOTA_TTL, _AT_ONCE = 10.0, 0.25
#: Seconds between two sweeps at least, and as long as the first one took, up to the second figure: crowds that come to
#: be due one by one.
_REST, _LONGEST_REST = 0.5, 30.0
#: Parts that are handed over where sweeps come to no end.
_SMALL_BATCH = 50
#: Of so many looks by the list, one is at the job itself, lest a list that lags behind be believed for ever: once a
#: day, at the longest interval, which costs some 3 requests an interval for 10,000 jobs.
_ITSELF = 2_880
#: Seconds for which it counts how many jobs of others the list has.
_OTHERS_FOR = 900.0
#: Parts that are handed over at a time.
BATCH_LIMIT = 500


@dataclass(frozen=True, slots=True)
class PollPlan:
    """When the running jobs of an account are worth a look, by the store's clock; whether a sweep is due."""

    next_at: float | None
    use_list: bool


@dataclass(frozen=True, slots=True)
class RequestQuota:
    """What a process may do: requests under way, how many more of them may start now; seconds that a pause has left."""

    requests: int
    starts: int
    pause: float


def plan_polling(keys: Keys, account: str, interval: float, auth_grace: float = 900.0) -> Command[PollPlan]:
    """Hands running parts that are due over to be looked at by themselves, where they are few; else asks for a sweep.

    `interval` is the longest one between two looks at a job; `auth_grace`, after which a refused token fails its runs.
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
    """Whether the sweep is this step's now, for so long: not where it is another's, or nothing is due."""
    keys_ = [keys.list_poll(account), keys.poll_set(account)]
    return Command(bool, (token, seconds), keys_, "acquire_list_poll")


def mark_still_running(
    keys: Keys, account: str, status: str, part_ids: Iterable[PartId], intervals: Sequence[float]
) -> Command[int]:
    """Notes that the list shows the jobs of these parts running. `intervals` are by the number of looks before."""
    args: list[Value] = [keys.prefix, status, _ITSELF, len(intervals), *intervals, *map(str, part_ids)]
    return Command(int, args, [keys.poll_set(account), keys.due], "mark_still_running")


def finish_list_poll(
    keys: Keys, account: str, token: str, *, others: float, redispatch_after: float
) -> Command[list[str]]:
    """End a list poll: move parts that the list did not show to `due`, `BATCH_LIMIT` at a time; the caller publishes.

    If the caller dies, the dispatcher publishes `redispatch_after` seconds later. `others`: pages of other users' jobs.
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
    """A process's share of `limit` requests under way, and of `rate` starts a second, of all processes.

    What it has `counted` is added to the totals; sent twice, twice.
    """
    args: list[Value] = [process, wanted, under_way, limit, _QUOTA_TTL, "" if rate is None else rate, _AT_ONCE]
    args += [one for pair in (counted or {}).items() for one in pair]
    redis_keys = [keys.quota, keys.next_request_at, keys.pause, keys.totals, keys.stored]
    return Command(lambda r: RequestQuota(int(r[0]), int(r[1]), float(r[2])), args, redis_keys, "allocate_requests")


def move_some_to_due(keys: Keys, account: str, token: str) -> Command[list[str]]:
    """Hands over a few of those that were due when a sweep began which failed, the oldest first."""
    args = (token, keys.prefix, _SMALL_BATCH, "", 0, 0, 0)
    return Command(_names, args, [keys.poll_set(account), keys.list_poll(account), keys.due], "finish_list_poll")


def find_unattended_accounts(keys: Keys, account: str, seconds: float) -> Command[list[str]]:
    """Other accounts than this one whose running jobs nobody has looked at for so long."""
    args = (keys.prefix, account, seconds)
    return Command(_names, args, [keys.accounts], "find_unattended_accounts")


def _names(reply: Sequence[bytes]) -> list[str]:
    return [name.decode() for name in reply]


def _poll_plan(reply: Sequence[Any]) -> PollPlan:
    return PollPlan(float(reply[0]) if reply[0] else None, bool(reply[1]))
