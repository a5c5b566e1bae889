"""A process that buys: it takes due parts, and carries out their steps with the store's own commands."""

from __future__ import annotations

import os
import random
import signal
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from redis.exceptions import RedisError

from scrape_do_celery.config.budget_limits import MC_PER_CREDIT
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.models import TaskDetails
from scrape_do_celery.rules.budgets import parse_refusal
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.rules.states import PartState
from scrape_do_celery.store import Claim, PartId
from scrape_do_celery.store.client import Store
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.dispatch import ClaimDue
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import CheckBeforeSend, IntentVerdict, SendVerdict, WriteIntent
from tests.budgets.market import TARGETS, Market, PlannedRun, name_purchase

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNT, PREFIX = "me", "soak"
LEASE = 2.0
#: The chance that a process dies at each of the places between two commands.
_DEATH = 0.004
_STATES = (PartState.QUEUED, PartState.SUBMITTING, PartState.RECONCILING, PartState.RUNNING, PartState.FETCHING)


def open_store(url: str) -> Store:
    """Return the store of the soak."""
    return Store.open(url, PREFIX)


def buy_for_ever(url: str, folder: Path, seed: str) -> NoReturn:
    """Carry out steps until the process is killed."""
    buyer = Buyer(open_store(url), Market(folder / "sales"), folder / "reservations", random.Random(seed))
    while True:
        try:
            buyer.work()
        except (StoreUnavailableError, RedisError):
            time.sleep(0.1)


class Buyer:
    """One process that buys."""

    def __init__(self, store: Store, market: Market, counter: Path, rng: random.Random) -> None:
        self._store, self._market, self._rng = store, market, rng
        self._counter = os.open(counter, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._looked = time.monotonic()

    def work(self) -> None:
        """Take some due parts, and carry out a step of each."""
        elapsed, self._looked = time.monotonic() - self._looked, time.monotonic()
        due = self._store.run(ClaimDue(limit=4, cap=10_000, own_elapsed=elapsed))
        for part in due.parts:
            claim = self._store.run(
                ClaimPart(part.part_id, uuid.uuid4().hex, seconds=LEASE, states=_STATES, account=ACCOUNT, isolated=True)
            )
            if isinstance(claim, Claim):
                self._step(claim)
        if not due.parts:
            time.sleep(self._rng.uniform(0.05, 0.3))

    def _die_perhaps(self) -> None:
        if self._rng.random() < _DEATH:
            os.kill(os.getpid(), signal.SIGKILL)

    def _step(self, claim: Claim) -> None:
        self._die_perhaps()
        match claim.part.state:
            case PartState.QUEUED:
                self._buy(claim)
            case PartState.SUBMITTING | PartState.RECONCILING:
                self._search(claim)
            case _:
                self._fetch(claim)
        self._die_perhaps()

    def _buy(self, claim: Claim) -> None:
        part_id, nonce = claim.part_id, uuid.uuid4().hex
        price = PlannedRun.of(part_id.run_id).prices[part_id.part]
        command = WriteIntent(
            claim,
            nonce,
            LEASE,
            account=ACCOUNT,
            marker=nonce,
            groups=[PriceGroup("soak", 1, 0, round(price * MC_PER_CREDIT), None)],
            durable_process=self._find_durable_process(),
        )
        verdict, reason = self._store.run(command)
        if verdict is IntentVerdict.OVER_BUDGET:
            if parse_refusal(reason).is_final:
                self._store.run(FinishPart(claim, "budget_exceeded"))
        elif verdict is IntentVerdict.STOP_REQUESTED:
            self._store.run(FinishPart(claim, "canceled"))
        elif verdict is not IntentVerdict.OK:
            self._store.run(UpdatePart(claim, {}, after=0.5))
        else:
            os.write(self._counter, b".")
            self._die_perhaps()
            self._send(claim, nonce, float(reason), price)

    def _send(self, claim: Claim, nonce: str, intent: float, price: float) -> None:
        name = name_purchase(claim.part_id, nonce)
        fate = self._market.fate(name)
        check = self._store.run(CheckBeforeSend(claim))
        if fate == "not_sent" or check.verdict is not SendVerdict.OK:
            self._release(claim, {"purchase_status": "void"}, PartState.QUEUED)
            return
        if fate == "rejected":
            self._store.run(FinishPart(claim, "failed", purchase_status="void"))
            return
        sold = fate != "lost_request" and self._market.sell(name, intent, price)
        self._die_perhaps()
        if fate == "sold" and sold:
            self._record(claim, name, "confirmed", nonce)
        else:
            self._release(claim, {"submit_error": '{"message": "the answer was lost"}'}, PartState.RECONCILING)

    def _search(self, claim: Claim) -> None:
        """Search for a purchase whose answer is unknown. A purchase with that fate is left in doubt."""
        intent, part_id = claim.part.intent or 0.0, claim.part_id
        # The time alone names no purchase: an intent whose answer was lost is told again, with a later time.
        name = name_purchase(part_id, claim.part.marker)
        sold = self._market.close(name, intent, PlannedRun.of(part_id.run_id).prices[part_id.part])
        self._die_perhaps()
        if self._market.fate(name) == "given_up":
            self._store.run(FinishPart(claim, "in_doubt", purchase_status="in_doubt"))
        elif sold:
            self._record(claim, name, "adopted", "")
        else:
            self._release(claim, {"purchase_status": "not_found"}, PartState.QUEUED)

    def _record(self, claim: Claim, name: str, status: str, nonce: str) -> None:
        fields = {"job": name, "tasks": pack([f"{name}-{n}" for n in range(TARGETS)]), "purchase_status": status}
        after = self._rng.choice((0.0, 0.0, self._rng.uniform(0, 1.0)))
        self._store.run(
            UpdatePart(claim, {**fields, "unlisted": "1"}, to=PartState.RUNNING, after=after, owner=name, nonce=nonce)
        )

    def _fetch(self, claim: Claim) -> None:
        part_id, name = claim.part_id, claim.part.job_id or ""
        if claim.part.state is PartState.RUNNING:
            self._store.run(UpdatePart(claim, {}, to=PartState.FETCHING))
        costs = self._market.costs(name, PlannedRun.of(part_id.run_id).prices[part_id.part])
        for position, cost in enumerate(costs):
            self._store.run(StoreContent(part_id, position, _task(part_id, name, position, cost)))
            self._die_perhaps()
        self._store.run(FinishPart(claim, "succeeded"))

    def _release(self, claim: Claim, fields: dict[str, str], state: PartState) -> None:
        self._store.run(UpdatePart(claim, fields, to=state, after=0.0))

    def _find_durable_process(self) -> str:
        """Return the id of the server process, as a worker does: this server syncs every write."""
        with suppress(RedisError):
            return str(self._store.client.info("server")["run_id"])
        return ""


def _task(part_id: PartId, name: str, position: int, cost: float | None) -> TaskDetails:
    told = {} if cost is None else {"Request-Cost": str(cost)}
    return TaskDetails(
        task_id=f"{name}-{position}",
        job_id=name,
        url=f"https://{part_id.run_id}.example/{position}",
        status="success",
        status_code=200,
        content="<html>",
        scrape_do_metadata=told,
    )
