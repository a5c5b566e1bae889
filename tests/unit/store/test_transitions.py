"""Test that every script keeps to the table of transitions between states."""

from __future__ import annotations

import itertools
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scrape_do_celery.rules.states import TRANSITIONS
from scrape_do_celery.store import CANCEL, Claim, PartState
from scrape_do_celery.store.commands.parts import FinishPart, PoisonPolicy, UpdatePart, UpdateResult
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import RequestStop

PAIRS = list(itertools.product(PartState, PartState))
POISON = PoisonPolicy(after=2, skip_unsent=True)
UPDATES = [f"to {state}" for state in PartState if state is not PartState.DONE]
ACTIONS = ["claim", "claim", "intend", "intend", *UPDATES, *UPDATES, "finish", "stop", "die", "lose writes"]


def allowed(before, after):
    return before == after or after in TRANSITIONS[PartState(before)]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_update_refuses_a_transition_that_the_table_lacks(store, before, after):
    store.create_run()
    claim = store.claim_part()
    store.force_state(state=before)
    kept = store.dump_keys()
    command = UpdatePart(claim, {"polls": 1}, to=after, after=1.0)
    reply = store.sync_store.run(command)
    assert reply == ("ok" if allowed(before, after) else UpdateResult.FORBIDDEN)
    if reply == "ok":
        assert store.part().state is after
        assert store.sync_store.run(command) == "ok", "a command may be sent twice"
    else:
        assert store.dump_keys() == kept


def test_update_takes_no_state_as_a_field(store):
    store.create_run()
    with pytest.raises(ValueError, match="the argument `to`"):
        UpdatePart(store.claim_part(), {"state": "done"})


class Play:
    """Two parts with the same targets, and the steps and other events of an example."""

    def __init__(self, store):
        self.store, self.claims = store, {}
        for run_id in ("a", "b"):
            self.store.create_run(run_id)

    def states(self):
        return [self.store.part_fields(run_id)["state"] for run_id in ("a", "b")]

    def act(self, action, run_id):
        before = self.states()
        self.command(action, run_id)
        for one, other in zip(before, self.states(), strict=True):
            assert allowed(one, other), f"{action}: {one} -> {other}"

    def command(self, action, run_id):
        store, claim = self.store, self.claims.get(run_id)
        if action == "stop":
            store.run(RequestStop(run_id, CANCEL))
        elif action == "lose writes":
            store.restart_server()
        elif action == "die":
            store.clock.forward(1_000)
        elif action == "claim" or claim is None:
            found = store.try_claim_part(run_id, poison=POISON)
            if isinstance(found, Claim):
                self.claims[run_id] = found
        elif action == "intend":
            store.run(WriteIntent(claim, uuid.uuid4().hex, 30.0))
        elif action == "finish":
            store.run(FinishPart(claim, "failed", skip_unsent=True))
        else:
            state = PartState(action.removeprefix("to "))
            store.sync_store.run(UpdatePart(claim, {}, to=state, after=0.0))


@settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from("ab")), min_size=5, max_size=40))
def test_no_script_makes_another_transition(store, actions):
    store.clock.ahead = 0.0
    play = Play(type(store)(store.clock))
    for action, run_id in actions:
        play.act(action, run_id)
