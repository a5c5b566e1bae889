"""Parts in the states in which steps meet them. A module with another number of targets has its own `size`."""

from __future__ import annotations

import pytest

from scrape_do_celery.store import PartState, ops


@pytest.fixture
def size():
    """Targets of the part."""
    return 2


@pytest.fixture
def running(plant, size):
    """A part whose job runs, older than the time in which a 404 means nothing."""
    plant.begin(targets=size)
    plant.buy()
    plant.clock.forward(100)
    return plant


@pytest.fixture
def early(running):
    """The same, with tasks that are fetched as they end."""
    running.redis.hset(running.keys.run("r"), "early", 1)
    return running


@pytest.fixture
def collecting(plant, make, size):
    """A part whose job has ended, and whose tasks are fetched."""
    plant.begin(targets=size)
    plant.buy(state=PartState.FETCHING)
    plant.run(ops.update_part(plant.keys, plant.take(), {}, job=make.job("success", size), after=0.0))
    plant.clock.forward(100)
    return plant
