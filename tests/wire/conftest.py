"""The lab's ground, once for each module."""

from __future__ import annotations

import pytest

from tests.wire.ground import laid
from tests.wire.lab import play_one
from tests.wire.mutations import all_mutations


@pytest.fixture(scope="module")
def ground():
    with laid() as found:
        yield found


@pytest.fixture(scope="session")
def mutations():
    """Each mutation by its name."""
    return {one.name: one for one in all_mutations()}


@pytest.fixture
def played(ground, mutations):
    """Plays one mutation by its name."""
    return lambda name: play_one(ground, (mutations[name],))
