"""The budgets of the lab: limits that let parts wait, and the check of all amounts by what the sandbox has charged."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from scrape_do_celery.config.budget_limits import MC_PER_CREDIT
from scrape_do_celery.rules.budgets import account_scope, tag_scope
from scrape_do_celery.store.commands.budgets import ReadSpend, SetBudget, StopBuying
from tests.budgets.audit import Replay, WriteLog
from tests.faults.servers import PREFIX
from tests.faults.trials import WIDE_TAG

if TYPE_CHECKING:
    from scrape_do_celery.store import RunRecord
    from tests.faults.harness import Harness
    from tests.faults.trials import Run, Trial


#: Seconds between two looks. Seconds for which parts wait for the budget of all runs, and for that of one trial, before
#: the lab raises the limit. The runs of one trial need no more credits, unless their costs are assumed.
_LOOK_PAUSE, _WAIT, _OWN_WAIT = 0.3, 1.5, 15.0
#: Credits by which the lab raises a limit. No part of the lab costs as much as the lower number.
_RAISE = (50, 100)
#: The chance for each look that all purchases are stopped, and for how many seconds.
_STOP_SHARE, _STOP_SECONDS = 0.02, (0.3, 1.5)
#: If a part that fits is due later than this (seconds), nobody has woken it. Pauses of the API are shorter.
_UNWOKEN = 30.0
_DAY = 86_400

#: Returns for each scope: limit, spent, reserved, parts that wait, the part that must be awake, seconds until its step.
#: A part that is awake may hold room for which it does not ask in the end. Then it wakes the next.
_LOOK = """
local prefix, period, reply = ARGV[1], ARGV[2], {}
local time = redis.call('TIME')
local t = time[1] + time[2] / 1e6
for i = 4, #ARGV do
  local scope, awake, due_in = ARGV[i], '', '0'
  local limits = redis.call('HMGET', prefix .. ':budgets', scope .. ' day', scope .. ' stop')
  local spend = redis.call('HMGET', prefix .. ':spend:' .. period, scope .. ' spent', scope .. ' reserved')
  local spent, reserved = tonumber(spend[1] or 0), tonumber(spend[2] or 0)
  local room = limits[2] and 0 or (limits[1] or math.huge) - spent - reserved
  local waiting = redis.call('ZRANGE', prefix .. ':budget_waiters:' .. scope, 0, 99)
  for _, part_id in ipairs(waiting) do
    local part = redis.call('HMGET', prefix .. ':part:' .. part_id, 'state', 'budget', 'lease', 'due_at')
    local amount = tonumber(string.match(part[2] or '', '^%S+') or 'inf')
    local at = math.max(tonumber(part[4] or 0), tonumber(part[3] or 0))
    local is_awake = at - t <= tonumber(ARGV[3])
    if part[1] == 'queued' and (amount <= room or is_awake) then
      awake, due_in = part_id, tostring(at - t)
      if is_awake then break end
    end
  end
  reply[#reply + 1] = {limits[1] or '', tostring(spent), tostring(reserved), #waiting, awake, due_in}
end
return reply
"""


@dataclass(frozen=True, slots=True)
class Look:
    """The use of a budget at one moment. `awake` is a part that fits or is awake, whose step is due in `due_in` s."""

    limit: int
    spent: int
    reserved: int
    waiting: int
    awake: str
    due_in: float

    @classmethod
    def parse(cls, reply: list[Any]) -> Look:
        """Parse the reply of the script for one scope."""
        limit, spent, reserved, waiting, awake, due_in = reply
        return cls(int(limit or 0), int(float(spent)), int(float(reserved)), waiting, awake.decode(), float(due_in))


class BudgetKeeper:
    """The owner of the lab's budgets in one round."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._account = account_scope(harness.servers.settings.account_id)
        self.problems: list[str] = []
        self._next_look = 0.0
        self._waits_since: dict[str, float] = {}
        self._log = WriteLog(harness.folder / "store", harness.folder / "history")

    def start_round(self) -> None:
        """Set the limits that all runs share. Let a few parts wait from the first moment on."""
        for scope in self._wide_scopes():
            self._set_limit(scope, self._random_room())

    def prepare(self, trial: Trial) -> None:
        """Set the limit of a trial that has a budget of its own."""
        if trial.budget is not None:
            self._set_limit(tag_scope(trial.budget_tag), trial.budget * MC_PER_CREDIT)

    def look_if_due(self) -> None:
        """Check that no part which fits sleeps, and raise limits that nothing else can free."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_PAUSE
        self._log.keep()
        with suppress(RedisError):
            self._look()

    def replay(self) -> Replay:
        """Return the history of this round's amounts, by the append-only file of the store."""
        replay = Replay(PREFIX)
        self._log.play(replay)
        return replay

    def clear(self) -> None:
        """Forget a round that was judged."""
        self.problems.clear()
        self._waits_since.clear()

    def _look(self) -> None:
        rng, own = self._harness.rng, [t for t in self._harness.in_flight.values() if t.budget is not None]
        scopes = [*self._wide_scopes(), *(tag_scope(trial.budget_tag) for trial in own)]
        store = self._harness.servers.app_context.store
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        for scope, reply in zip(scopes, store.client.eval(_LOOK, 0, PREFIX, today, _UNWOKEN, *scopes), strict=True):
            self._judge(scope, Look.parse(reply))
        if rng.random() < _STOP_SHARE:
            store.run(StopBuying(self._account, is_stopped=True))
            self._harness.events["stop of all purchases"] += 1
            self._harness.call_later(rng.uniform(*_STOP_SECONDS), self._resume)

    def _judge(self, scope: str, look: Look) -> None:
        if look.reserved < 0:
            self.problems.append(f"{scope} has {look.reserved} reserved")
        is_asleep = bool(look.awake) and look.due_in > _UNWOKEN
        if is_asleep:
            self.problems.append(f"part {look.awake} fits into {scope}, and sleeps {look.due_in:.0f} s more: {look}")
        if not look.waiting:
            self._waits_since.pop(scope, None)
            return
        self._harness.events["look at a part that waits for a budget"] += 1
        since = self._waits_since.setdefault(scope, time.monotonic())
        has_waited = time.monotonic() - since > (_WAIT if scope in self._wide_scopes() else _OWN_WAIT)
        if is_asleep or (not look.awake and (has_waited or not look.reserved)):
            self._set_limit(scope, max(look.limit, look.spent) + self._random_room())
            self._harness.events["raised limit"] += 1

    def _resume(self) -> None:
        with suppress(RedisError):
            self._harness.servers.app_context.store.run(StopBuying(self._account, is_stopped=False))
            return
        self._harness.call_later(0.2, self._resume)

    def _wide_scopes(self) -> list[str]:
        return [self._account, tag_scope(WIDE_TAG)]

    def _random_room(self) -> int:
        return self._harness.rng.randint(*_RAISE) * MC_PER_CREDIT

    def _set_limit(self, scope: str, limit: int) -> None:
        self._harness.servers.app_context.store.run(SetBudget(scope, "day", limit))


class SpendChecker:
    """A judge of the amounts of a round. All its runs have ended."""

    def __init__(self, harness: Harness, trials: list[Trial]) -> None:
        self._harness, self._store = harness, harness.servers.app_context.store
        self._amounts: dict[str, Counter[str]] = {}
        for day in range(int(min(t.began for t in trials) // _DAY), int(time.time() // _DAY) + 1):
            name = f"{datetime.fromtimestamp(day * _DAY, UTC):%Y-%m-%d}"
            for scope, amounts in self._store.run(ReadSpend(name)).items():
                self._amounts.setdefault(scope, Counter()).update(amounts)

    def check_round(self) -> list[str]:
        """Return what is wrong with the amounts of all runs together."""
        keeper, replay = self._harness.budget_keeper, self._harness.budget_keeper.replay()
        self._harness.events["reservation"] += replay.reservations
        self._harness.events["reservation for a job that may exist, above a limit"] += replay.forced
        problems = [*keeper.problems, *replay.problems]
        problems += [
            f"{scope}: {one['reserved']} is reserved" for scope, one in self._amounts.items() if one["reserved"]
        ]
        lines = self._store.client.scan_iter(self._store.keys.budget_waiters("*"))
        problems += [f"parts wait after the end: {key.decode()}" for key in lines]
        keys = self._store.keys
        kinds = (
            keys.slots("*"),
            keys.slot_waiters("*"),
            keys.slot_line("*", "*"),
            keys.slot_turns("*"),
            keys.new_turn("*"),
        )
        left = [key.decode() for kind in kinds for key in self._store.client.scan_iter(kind)]
        problems += [f"a job slot is held, or a fairness key is kept, after the end: {key}" for key in left]
        by_run = sum(one["spent"] for scope, one in self._amounts.items() if scope.startswith("tag:run:"))
        by_account = sum(one["spent"] for scope, one in self._amounts.items() if scope.startswith("account:"))
        if by_run != by_account:
            problems.append(f"the account has spent {by_account}, its runs {by_run}")
        return problems

    def check_run(self, run: Run, record: RunRecord, sold: list[dict[str, Any]]) -> list[str]:
        """Return what is wrong with the amounts of a run. The sandbox tells what its jobs have cost."""
        amounts = self._amounts.get(tag_scope(run.tag), Counter())
        spent, assumed = amounts["spent"], amounts["assumed"]
        ids = {part.job_id for part in record.parts if part.job_id}
        jobs = [job for job in sold if job["id"] in ids]
        charged = sum(task["cost"] for job in jobs for task in job["tasks"]) * MC_PER_CREDIT
        problems = []
        # A cost that is assumed may be more or less than what was charged, if pages do not cost one credit.
        is_plain = not any("cost=" in target for target in run.targets)
        is_right = (
            spent == charged if not assumed else spent - assumed <= charged and (charged <= spent or not is_plain)
        )
        if not is_right:
            problems.append(f"run {run.run_id} has spent {spent}, {assumed} of it assumed; the API charged {charged}")
        if run.max_credits is not None:
            fields = self._store.client.hmget(self._store.keys.run(run.run_id), "spent_mc", "reserved_mc")
            found = [int(one or 0) for one in fields]
            if found != [spent, 0]:
                problems.append(f"run {run.run_id} has spent and reserved {found}, its tag {spent}")
        return problems
