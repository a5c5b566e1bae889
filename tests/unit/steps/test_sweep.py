"""A look at all running jobs by the job list: what it costs, what it leaves alone, whom it rings for."""

from __future__ import annotations

import pytest

from scrape_do_celery import routing
from scrape_do_celery.models import JobsListResponse
from scrape_do_celery.store import PartState, ops
from scrape_do_celery.tasks.sweep import sweep

COUNT = 40


@pytest.fixture
def crowd(plant):
    """So many jobs that run, bought a tenth of a second apart."""
    for n in range(COUNT):
        plant.begin(f"r{n}")
        claim = plant.take(f"r{n}")
        plant.run(ops.intent(plant.keys, claim, f"n{n}", 100.0, account=plant.account))
        fields = {"state": "running", "job": f"job-{n}", "booked": "bought"}
        op = ops.update(plant.keys, claim, fields, after=1.0 + n / 10, owner=f"job-{n}")
        assert plant.run(op) == "ok"
    return plant


def listed(plant, make, running):
    """The API lists these jobs as running."""
    everything = [make.job(job_id=f"job-{n}").to_wire() for n in running]

    def page(filters):
        shown = everything if (filters["status"], filters["page"]) == ("pending", 1) else []
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 1})

    plant.api.script(list_jobs=page)


def look(plant):
    return plant.run(ops.look(plant.keys, plant.account, plant.settings.poll_max_interval, 900.0))


def swept(plant):
    async def go(runtime, _):
        await sweep(runtime)

    plant.step(go, None)


def test_what_is_not_due_keeps_its_time(crowd, make):
    listed(crowd, make, range(COUNT))
    crowd.clock.forward(1.95)
    before = crowd.looks()
    swept(crowd)
    after = crowd.looks()
    for n in range(COUNT):
        name = f"r{n}:0"
        if before[name] > 0:
            assert after[name] == pytest.approx(before[name], abs=0.5)
            assert crowd.part(f"r{n}").polls == 0
        else:
            assert after[name] == pytest.approx(crowd.settings.poll_multiplier, abs=0.5)
            assert crowd.part(f"r{n}").polls == 1


def test_those_of_the_longest_interval_are_brought_together(crowd, make):
    listed(crowd, make, range(COUNT))
    for n in range(COUNT):
        crowd.force(f"r{n}", polls=9)
    crowd.clock.forward(1.05)
    swept(crowd)
    longest = crowd.settings.poll_max_interval
    assert list(crowd.looks().values()) == [pytest.approx(longest, abs=1)] * COUNT


def test_what_ended_is_rung_for_at_once(crowd, make):
    listed(crowd, make, range(10, COUNT))
    crowd.clock.forward(6)
    swept(crowd)
    ((step, names),) = crowd.bells()
    assert (step, set(names)) == (routing.POLL_JOBS, {f"r{n}:0" for n in range(10)})
    assert crowd.look().parts == (), "the ticker rings later, should this bell be lost"
    crowd.clock.forward(ops.RING + 0.1)
    assert {part.member.run_id for part in crowd.look().parts} == {f"r{n}" for n in range(10)}


def test_what_was_not_due_when_it_began_is_not_handed_over(crowd, make):
    listed(crowd, make, [])
    crowd.clock.forward(1.95)
    due = {name for name, at in crowd.looks().items() if at <= 0}
    swept(crowd)
    ((_, names),) = crowd.bells()
    assert set(names) == due
    assert len(due) < COUNT


def test_there_is_a_rest_between_two(crowd, make):
    listed(crowd, make, range(COUNT))
    crowd.clock.forward(1.05)
    assert look(crowd).sweep
    swept(crowd)
    crowd.clock.forward(0.2)
    soon = look(crowd)
    assert not soon.sweep
    assert 0 < soon.next_at - crowd.clock.time() <= 0.3, "the ticker comes back as soon as there may be a next one"
    crowd.clock.forward(0.4)
    assert look(crowd).sweep


def test_a_ticker_looks_soon_whether_a_sweep_has_ended(crowd):
    crowd.clock.forward(6)
    first = look(crowd)
    assert first.sweep
    assert first.next_at - crowd.clock.time() < 1
    again = look(crowd)
    assert not again.sweep
    assert again.next_at - crowd.clock.time() < 1


def test_more_than_a_batch_is_left_to_the_tickers(crowd, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.store.watching.MOST", 15)
    monkeypatch.setattr(ops, "MOST", 15)
    listed(crowd, make, [])
    crowd.clock.forward(6)
    swept(crowd)
    ((_, names),) = crowd.bells()
    assert len(names) == 15
    assert len(crowd.look().parts) == COUNT - 15
    assert all(crowd.part(f"r{n}").state is PartState.RUNNING for n in range(COUNT))
