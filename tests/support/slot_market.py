"""An account with job slots, in which the commands of a worker buy the jobs of runs and end them."""

from __future__ import annotations

from scrape_do_celery.config.budget_limits import MC_PER_CREDIT
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.store import PartId, PartState, RunSpec
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import SLOT_RECHECK, WriteIntent

ACCOUNT = "me"


class Market:
    """An account with a number of job slots, whose steps buy the jobs of parts and end them."""

    def __init__(self, store, limit=1):
        self.store, self.limit = store, limit
        store.account = ACCOUNT
        #: the runs of the parts that were bought, in order
        self.bought = []
        self.prices, self.counts = {}, {}

    def enqueue(self, run_id, parts=1, price=1, **options):
        """Start a run of parts with one target each, and let a step ask for a slot for each part."""
        targets = [f"https://{run_id}.example/{n}" for n in range(parts)]
        self.store.run(CreateRun(run_id, RunSpec(JobCreationRequest(targets=targets), **options).split_by(1)))
        self.prices[run_id], self.counts[run_id] = price, parts
        for n in range(parts):
            self.try_buy(run_id, n)

    def try_buy(self, run_id, part=0, *, is_void=False):
        """Try to buy the job of a part. Return the verdict."""
        self.store.set_fields(run_id, part, due_at=0, lease=0)
        claim = self.store.claim_part(run_id, part)
        group = PriceGroup("x", 1, 0, round(self.prices[run_id] * MC_PER_CREDIT), None)
        nonce = f"{run_id}{part}"
        verdict, _ = self.store.run(WriteIntent(claim, nonce, 100.0, account=ACCOUNT, limit=self.limit, groups=[group]))
        if verdict == "ok" and is_void:
            self.store.run(UpdatePart(claim, {"purchase_status": "void"}, to="queued", after=0.0))
        elif verdict == "ok":
            fields = {"purchase_status": "confirmed"}
            self.store.run(UpdatePart(claim, fields, to="running", after=3600.0, owner=f"job-{run_id}-{part}"))
            self.bought.append(run_id)
        return verdict

    def parts(self, *states):
        """Return the parts in these states, as pairs of run and number."""
        return [part for part, state in self.states().items() if state in states]

    def states(self):
        """Return the state of each part, by pairs of run and number."""
        names = [(run_id, number) for run_id, count in self.counts.items() for number in range(count)]
        pipeline = self.store.redis.pipeline(transaction=False)
        for run_id, number in names:
            pipeline.hget(self.store.keys.part(PartId(run_id, number)), "state")
        return dict(zip(names, (state.decode() for state in pipeline.execute()), strict=True))

    def buy_woken(self):
        """Let the steps of woken parts buy. The regular checks of waiting parts come much later."""
        states = self.states()
        for name, at in self.store.due_parts().items():
            run_id, _, number = name.rpartition(":")
            if at < SLOT_RECHECK / 2 and number.isdigit() and states[run_id, int(number)] == PartState.QUEUED:
                self.try_buy(run_id, int(number))

    def end(self, run_id, part=0):
        """End a part, and let the steps of woken parts buy."""
        self.store.set_fields(run_id, part, due_at=0, lease=0)
        self.store.run(FinishPart(self.store.claim_part(run_id, part), "succeeded"))
        self.buy_woken()

    def end_first(self):
        """End the part that has held its slot for the longest time. Return whether there is one."""
        held = self.held()
        if held:
            self.end(*held[0])
        return bool(held)

    def held(self):
        """Return the parts that hold a slot, as pairs of run and number."""
        names = self.store.redis.zrange(self.store.keys.slots(ACCOUNT), 0, -1)
        return [(run_id, int(number)) for run_id, _, number in (name.decode().rpartition(":") for name in names)]

    def left_keys(self):
        """Return the keys of slots and turns in the store."""
        kinds = ("slots", "slot_waiters", "slot_line", "slot_turns", "new_turn")
        found = (name.decode() for name in self.store.redis.scan_iter("p:*"))
        return sorted(name for name in found if name.split(":")[1] in kinds)
