"""Parts in the states in which steps meet them. A module with another number of targets has its own `size`."""

from __future__ import annotations

import pytest

from scrape_do_celery.store import PartState, ops


@pytest.fixture
def size():
    """Targets of the part."""
    return 2


@pytest.fixture
def running(step_harness, size):
    """A part whose job runs, older than the time in which a 404 means nothing."""
    step_harness.create_run(targets=size)
    step_harness.make_running()
    step_harness.clock.forward(100)
    return step_harness


@pytest.fixture
def early(running):
    """The same, with tasks that are fetched as they end."""
    running.redis.hset(running.keys.run("r"), "early", 1)
    return running


@pytest.fixture
def collecting(step_harness, make, size):
    """A part whose job has ended, and whose tasks are fetched."""
    step_harness.create_run(targets=size)
    step_harness.make_running(state=PartState.FETCHING)
    step_harness.run(
        ops.update_part(step_harness.keys, step_harness.claim_part(), {}, job=make.job("success", size), after=0.0)
    )
    step_harness.clock.forward(100)
    return step_harness
