"""Play the worked example of docs/how-to/spend.md in a store, and compare the figures of the page with the store's."""

from __future__ import annotations

import re
from pathlib import Path

import fakeredis
import pytest

from scrape_do_celery.models import JobCreationRequest, TaskDetails
from scrape_do_celery.rules.budgets import tag_scope
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.runs.budgets import read_budget
from scrape_do_celery.store import Keys, PartId, PartState, RunSpec, Store
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.budgets import ReadBudgets, SetBudget
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import WriteIntent

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "spend.md"
_ROW = re.compile(r"^\| (.+?) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
SCOPE = tag_scope("shop:7")


class Example:
    """The runs of the example, bought and ended by the commands that a worker uses."""

    def __init__(self):
        self.store = Store(fakeredis.FakeRedis(server=fakeredis.FakeServer()), Keys("p"))

    def limit(self, credits_):
        self.store.run(SetBudget(SCOPE, "day", credits_ * 1000))

    def claim(self, run_id):
        part_id = PartId(run_id, 0)
        self.store.client.hset(self.store.keys.part(part_id), "lease", 0)
        return self.store.run(ClaimPart(part_id, run_id, seconds=60, states=PartState, account="me", isolated=True))

    def buy(self, run_id, count=0, price=0):
        """Try to buy a run, which is enqueued if it has targets. Return whether it was bought."""
        if count:
            self.count, self.price = count, price
            request = JobCreationRequest(targets=[f"https://{run_id}.example/{n}" for n in range(count)])
            self.store.run(CreateRun(run_id, RunSpec(request, tags=["shop:7"])))
        groups = [PriceGroup("x", self.count, 0, self.price * 1000, None)]
        return self.store.run(WriteIntent(self.claim(run_id), run_id, 60.0, account="me", groups=groups))[0] == "ok"

    def end(self, run_id, costs):
        fields = {"job": run_id, "tasks": pack([str(n) for n in range(len(costs))]), "purchase_status": "confirmed"}
        self.store.run(UpdatePart(self.claim(run_id), fields, to="running", after=0.0, owner=run_id))
        for n, cost in enumerate(costs):
            task = TaskDetails.model_validate(
                {"TaskID": str(n), "JobID": run_id, "URL": "", "Status": "success", "Scrape.do": {"Request-Cost": cost}}
            )
            self.store.run(StoreContent(PartId(run_id, 0), n, task))
        self.store.run(FinishPart(self.claim(run_id), "succeeded"))

    def figures(self):
        (budget,) = map(read_budget, self.store.run(ReadBudgets()))
        return budget.spent, budget.reserved, budget.left, budget.overrun


def play(example):
    """Play the steps. Yield the figures after each."""
    example.limit(200)
    assert example.buy("a", 150, 1)
    yield example.figures()
    assert not example.buy("b", 10, 10)
    yield example.figures()
    assert example.buy("c", 40, 1)
    yield example.figures()
    example.end("a", ["1"] * 120 + ["0"] * 30)
    yield example.figures()
    example.end("c", ["1"] * 40)
    yield example.figures()
    example.limit(300)
    example.count, example.price = 10, 10
    assert example.buy("b")
    yield example.figures()
    example.end("b", ["15"] * 10)
    yield example.figures()


def test_figures_of_the_worked_example_are_those_of_a_store():
    rows = _ROW.findall(PAGE.read_text())
    played = list(play(Example()))
    assert [tuple(map(float, figures)) for _, *figures in rows] == [figures[:3] for figures in played]
    assert played[-1][3] == pytest.approx(10)
    assert "an **overrun** of 10 credits" in PAGE.read_text()
