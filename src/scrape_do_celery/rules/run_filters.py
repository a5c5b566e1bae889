"""Which sets of the index of runs answer a question for runs in a state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scrape_do_celery.rules.outcomes import OUTCOMES, RunState

#: The words for all runs without an outcome, and for all runs with one, beside the states of `RunState`.
LIVE, ENDED = "live", "ended"
#: The words that a filter by state takes.
STATE_WORDS: Final = (LIVE, ENDED, *(state.value for state in RunState))
#: The index has the runs with an outcome here until each waiter has it.
_DELIVERING: Final = "delivering"
_ENDED_STATES: Final = (_DELIVERING, *(outcome.value for outcome in OUTCOMES))


@dataclass(frozen=True, slots=True)
class IndexQuestion:
    """The states of the index to read, and the only state of live runs that is wanted; empty for any."""

    index_states: tuple[str, ...]
    live_state: str = ""


def find_index_states(state: str | None) -> IndexQuestion:
    """Return what to read for a filter by state, one of `STATE_WORDS`; None for any state."""
    if state is None:
        return IndexQuestion((LIVE, *_ENDED_STATES))
    if state == LIVE:
        return IndexQuestion((LIVE,))
    if state == ENDED:
        return IndexQuestion(_ENDED_STATES)
    if RunState(state).is_outcome:
        return IndexQuestion((_DELIVERING, state))
    return IndexQuestion((LIVE,), state)
