"""Provide the lab's environment, once for each module."""

from __future__ import annotations

import pytest

from tests.wire.environment import lab_environment
from tests.wire.harness import run_case
from tests.wire.mutations import all_mutations


@pytest.fixture(scope="module")
def environment():
    with lab_environment() as found:
        yield found


@pytest.fixture(scope="session")
def mutations():
    """Return each mutation by its name."""
    return {one.name: one for one in all_mutations()}


@pytest.fixture
def run_mutation(environment, mutations):
    """Return a function that plays one mutation by its name."""
    return lambda name: run_case(environment, (mutations[name],))
