"""Test the index of runs: that a list finds each run once, and that no entry outlives its record."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from scrape_do_celery.rules.run_filters import STATE_WORDS
from scrape_do_celery.store import PartId, Retention
from scrape_do_celery.store.commands.creation import AcceptRun, DisownMessage
from scrape_do_celery.store.commands.listing import ListRuns, RunPosition
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ForgetRun, RecordOutcome, RequestStop
from scrape_do_celery.store.retention import INDEX_MARGIN, MARK_TTL

RETENTION = Retention(100, 200, 300)
#: Seconds for which a run is in the index after its delivery, if its record lives for 200 s.
LIFE = 180


def listed(store, *, limit=1000, **filters):
    """Return the ids of all pages."""
    found, position = [], None
    while True:
        page = store.run(ListRuns(limit, position=position, **filters))
        found += [record.run_id for record in page.records]
        if page.position is None:
            return found
        position = RunPosition.parse(str(page.position))


def end(store, run_id="r", outcome="succeeded", *, deliver=True, retention=RETENTION):
    store.finish_part(run_id, outcome=outcome)
    store.run(RecordOutcome(run_id, outcome, {}))
    if deliver:
        store.run(AcknowledgeDelivery(run_id, run_id, retention))


def index_entries(store):
    """Return the ids in each set of the index."""
    found = {}
    for key in store.redis.scan_iter(f"{store.keys.prefix}:runs*"):
        found[key.decode()] = {name.decode() for name in store.redis.zrange(key, 0, -1)}
    return found


def test_runs_are_listed_newest_first_by_each_filter(store):
    store.create_run("a", label="prices", tags=["x", "y"])
    store.create_run("b", label="prices")
    store.create_run("c", tags=["x"])
    store.create_multi_part_run(2, "d", start_delay=60)
    end(store, "b", "failed", deliver=False)
    end(store, "c")
    store.make_running("a")
    assert listed(store) == ["d", "c", "b", "a"]
    assert listed(store, state="live") == ["d", "a"]
    assert listed(store, state="ended") == ["c", "b"]
    assert listed(store, state="running") == ["a"]
    assert listed(store, state="queued") == ["d"]
    assert listed(store, state="failed") == ["b"]
    assert listed(store, state="succeeded") == ["c"]
    assert listed(store, label="prices") == ["b", "a"]
    assert listed(store, tag="x") == ["c", "a"]
    assert listed(store, tag="y", state="live") == ["a"]
    assert listed(store, tag="x", label="prices") == ["a"]
    assert listed(store, tag="prices") == listed(store, label="x") == listed(store, state="lost") == []


def test_times_include_their_beginning_and_not_their_end(store):
    for run_id in "abc":
        store.clock.forward(1)
        store.create_run(run_id)
    times = {run_id: store.read_run(run_id).created for run_id in "abc"}
    assert listed(store, since=times["b"]) == ["c", "b"]
    assert listed(store, before=times["b"]) == ["a"]
    assert listed(store, since=times["a"], before=times["c"], limit=1) == ["b", "a"]
    assert listed(store, since=times["c"] + 1) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_runs_of_one_moment_are_paged_without_a_gap(store, limit):
    store.clock.stop()
    ids = ["B", "a", "a.b", "b", "z-1", "\u00fc", "aa"]
    for run_id in ids:
        store.create_run(run_id)
    assert listed(store, limit=limit) == sorted(ids, key=str.encode, reverse=True)


def test_page_is_short_if_many_records_had_to_be_read(store):
    for n in range(12):
        store.create_run(f"r{n:02}", label="a", tags=["x"] if n == 3 else [])
    for n in range(9):
        store.create_run(f"s{n}", tags=["x"])
    pages, position = [], None
    while not pages or position:
        page = store.run(ListRuns(100, label="a", tag="x", max_reads=5, position=position))
        pages.append([record.run_id for record in page.records])
        position = page.position
    # The tag has fewer runs than the label.
    assert pages == [[], ["r03"]]


def test_parts_of_a_run_count_as_records(store):
    for run_id in "ab":
        store.create_multi_part_run(4, run_id)
    page = store.run(ListRuns(100, max_reads=3))
    assert [record.run_id for record in page.records] == ["b"]
    assert listed(store, max_reads=1) == ["b", "a"]


def test_record_of_a_page_is_that_of_the_store(store):
    store.create_multi_part_run(2, label="prices", tags=["x"])
    store.make_running()
    [found] = store.run(ListRuns(1)).records
    whole = store.read_run()
    for name in ("run_id", "created", "state", "label", "tags", "hosts", "summary"):
        assert getattr(found, name) == getattr(whole, name)
    assert [part.job_id for part in found.parts] == [part.job_id for part in whole.parts]


def test_forgotten_run_leaves_no_entry(store):
    store.create_run(label="a", tags=["x", "y"])
    end(store)
    store.run(ForgetRun("r"))
    assert index_entries(store) == {}


def test_run_that_is_forgotten_before_its_delivery_leaves_with_it(store):
    store.create_run(label="a", tags=["x"])
    end(store, deliver=False)
    store.run(ForgetRun("r"))
    assert listed(store) == ["r"]
    store.run(AcknowledgeDelivery("r", "r", RETENTION))
    assert index_entries(store) == {}


def test_draft_that_is_dropped_is_listed_as_its_outcome_and_then_leaves(store):
    store.create_run(label="a", start_delay=600)
    assert listed(store, state="queued") == ["r"]
    store.run(RequestStop("r", "cancel"))
    store.run(AcceptRun("r"))
    store.run(RecordOutcome("r", "canceled", {}))
    store.run(AcknowledgeDelivery("r", "r", RETENTION))
    assert listed(store, state="canceled") == ["r"]
    store.run(ForgetRun("r"))
    assert index_entries(store) == {}


def test_mark_of_a_message_is_not_listed(store):
    store.run(DisownMessage("r"))
    assert (listed(store), index_entries(store)) == ([], {})


@pytest.mark.parametrize("by", ["dispatcher", "new run", "list"])
def test_each_of_three_removes_runs_shortly_before_their_records_expire(store, by):
    store.create_run(label="a", tags=["x"])
    end(store)
    # A set lives as long as the last run in it.
    store.create_run("later", label="a", tags=["x"])
    store.clock.forward(LIFE - 10)
    end(store, "later")
    assert listed(store, state="ended") == ["later", "r"]
    store.clock.forward(11)
    assert store.read_run() is not None
    if by == "dispatcher":
        store.claim_due()
    elif by == "new run":
        store.create_run("new")
    else:
        assert listed(store, label="a") == ["later"]
    keys = store.keys
    sets = (keys.runs("succeeded"), keys.runs_with_label("succeeded", "a"), keys.runs_with_tag("succeeded", "x"))
    found = index_entries(store)
    assert [found[key] for key in sets] == [{"later"}] * 3
    assert len(found[keys.runs_expiry]) == 1


def test_without_any_process_all_entries_go_with_the_last_record(store):
    store.create_run(label="a", tags=["x"])
    end(store)
    lives = {key: store.redis.ttl(key) for key in index_entries(store)}
    assert len(lives) == 4
    assert set(lives.values()) == {LIFE}


def test_a_day_of_retention_keeps_runs_until_the_last_hour(store):
    store.create_run()
    end(store, retention=Retention(86_400, 86_400, 86_400))
    assert store.redis.ttl(store.keys.runs("succeeded")) == 86_400 - INDEX_MARGIN


def test_changed_retention_holds_for_runs_that_are_delivered_after_it(store):
    for run_id, record in (("long", 2000), ("short", 100), ("middle", 1000)):
        store.create_run(run_id)
        end(store, run_id, retention=Retention(100, record, 100))
    assert listed(store) == ["middle", "short", "long"]
    store.clock.forward(91)
    assert listed(store) == ["middle", "long"]
    store.clock.forward(810)
    assert listed(store) == ["long"]
    store.clock.forward(900)
    assert (listed(store), index_entries(store)) == ([], {})


def test_new_waiter_keeps_an_ended_run_in_the_list(store):
    store.create_run(label="a")
    end(store)
    store.clock.forward(LIFE - 1)
    store.run(AcceptRun("r", "second", "s"))
    store.clock.forward(1000)
    store.claim_due()
    assert listed(store, label="a", state="succeeded") == ["r"]
    store.run(AcknowledgeDelivery("r", "second", RETENTION))
    store.clock.forward(LIFE + 1)
    assert listed(store) == []


def test_run_of_an_older_version_is_not_listed_and_leaves_nothing(store):
    store.create_run(label="a")
    for key in index_entries(store):
        store.redis.delete(key)
    end(store)
    assert (listed(store), index_entries(store)) == ([], {})


@pytest.mark.parametrize("is_delivered", [False, True])
@pytest.mark.parametrize("by", ["dispatcher", "list"])
def test_run_that_an_older_worker_ended_is_put_right(store, by, is_delivered):
    store.create_run(label="a", tags=["x"])
    store.redis.hset(store.keys.run("r"), "outcome", "failed")
    if is_delivered:
        store.redis.expire(store.keys.run("r"), 200)
    assert listed(store, state="failed") == []
    if by == "dispatcher":
        store.claim_due()
    else:
        assert listed(store) == ["r"]
    assert listed(store, state="failed", label="a") == listed(store, state="failed", tag="x") == ["r"]
    assert listed(store, state="live") == []
    if is_delivered:
        store.clock.forward(LIFE + 1)
        assert (listed(store), index_entries(store)) == ([], {})


@pytest.mark.parametrize("by", ["dispatcher", "list"])
def test_entry_of_a_record_that_is_gone_is_removed(store, by):
    store.create_run()
    store.redis.delete(store.keys.run("r"), store.keys.part(PartId("r", 0)))
    if by == "dispatcher":
        store.claim_due()
    else:
        assert listed(store) == []
    assert index_entries(store) == {}


def test_new_run_with_the_id_of_an_expired_one_stays(store):
    store.create_run(label="a", tags=["old"])
    end(store)
    store.redis.delete(store.keys.run("r"), store.keys.part(PartId("r", 0)))
    store.clock.forward(10)
    store.create_run(label="a", tags=["new"])
    assert listed(store) == ["r"]
    end(store, retention=Retention(1000, 2000, 1000))
    store.clock.forward(LIFE)
    assert listed(store) == listed(store, label="a") == listed(store, tag="new") == ["r"]
    assert listed(store, tag="old") == []


def test_call_that_is_sent_twice_makes_one_entry(store):
    for _ in range(2):
        store.create_run(waiter="w", signature="s")
    assert listed(store) == ["r"]


EXAMPLES = 8
IDS = ("a", "b", "c:1", "d", "e")
LABELS = (None, "p", "q r")
TAGS = ((), ("x",), ("x", "y"))
LIVES = (100, 1000)


class Lists(RuleBasedStateMachine):
    """A store in any order of beginnings, ends, deliveries and passing time, beside a model of the list.

    The test sets `new_store`.
    """

    new_store = None

    def __init__(self):
        super().__init__()
        self.store, self.runs = self.new_store(), {}
        self.position, self.seen, self.all_along = None, [], None

    @rule(run_id=st.sampled_from(IDS), label=st.sampled_from(LABELS), tags=st.sampled_from(TAGS), late=st.booleans())
    def create(self, run_id, label, tags, late):
        made = self.store.create_run(run_id, label=label, tags=tags, start_delay=600.0 if late else None)
        if made.new:
            self.runs[run_id] = {
                "label": label,
                "tags": tags,
                "state": "live",
                "until": None,
                "at": self.store.clock.time(),
            }

    @rule(run_id=st.sampled_from(IDS), outcome=st.sampled_from(["succeeded", "lost"]), deliver=st.booleans())
    def end(self, run_id, outcome, deliver):
        run = self.runs.get(run_id)
        if run is None or run["state"] != "live":
            return
        self.store.run(AcceptRun(run_id))
        self.store.finish_part(run_id, outcome=outcome)
        self.store.run(RecordOutcome(run_id, outcome, {}))
        run["state"] = outcome
        if deliver:
            self.deliver(run_id, LIVES[0])

    @rule(run_id=st.sampled_from(IDS), life=st.sampled_from(LIVES))
    def deliver(self, run_id, life):
        run = self.runs.get(run_id)
        if run is None or run["state"] == "live":
            return
        for waiter in (run_id, "other"):
            self.store.run(AcknowledgeDelivery(run_id, waiter, Retention(life, life, life)))
        run["until"] = self.store.clock.time() + 0.9 * life

    @rule(run_id=st.sampled_from(IDS))
    def wait_for_an_ended_run(self, run_id):
        run = self.runs.get(run_id)
        if run and run["until"]:
            fields = self.store.run_fields(run_id)
            self.store.run(AcceptRun(run_id, "other", "s"))
            if "delivered:other" not in fields:
                run["until"] = None

    @rule(run_id=st.sampled_from(IDS))
    def forget(self, run_id):
        run = self.runs.get(run_id)
        if run and run["until"]:
            self.store.run(ForgetRun(run_id))
            del self.runs[run_id]

    @rule(seconds=st.sampled_from([1, 80, MARK_TTL]))
    def pass_time(self, seconds):
        self.store.clock.forward(seconds)
        now = self.store.clock.time()
        self.runs = {name: run for name, run in self.runs.items() if run["until"] is None or run["until"] > now}

    @rule()
    def dispatch(self):
        self.store.claim_due()

    def wanted(self, state=None, label=None, tag=None):
        """Return the ids that the model has for a filter, the newest first."""
        found = [
            name
            for name, run in self.runs.items()
            if (state is None or run["state"] == state or (state == "ended" and run["state"] != "live"))
            and label in {None, run["label"]}
            and (tag is None or tag in run["tags"])
        ]
        return sorted(found, key=lambda name: (self.runs[name]["at"], name.encode()), reverse=True)

    @precondition(lambda self: self.all_along is None)
    @rule()
    def begin_to_page(self):
        self.seen, self.all_along = [], {(name, run["at"]) for name, run in self.runs.items()}
        self.read_page()

    @precondition(lambda self: self.all_along is not None)
    @rule()
    def read_page(self):
        """Read the next page. Runs that were there all along are all seen, and no run is seen twice."""
        page = self.store.run(ListRuns(2, position=self.position))
        self.seen += [(one.run_id, one.created) for one in page.records]
        self.position = page.position
        if page.position is None:
            assert len(set(self.seen)) == len(self.seen)
            there = {(name, run["at"]) for name, run in self.runs.items()}
            assert there & self.all_along <= set(self.seen)
            self.all_along = None

    @invariant()
    def lists_are_those_of_the_model(self):
        filters = [{}, {"state": "live"}, {"state": "ended", "label": "p"}, {"tag": "x"}]
        for one in filters:
            assert listed(self.store, limit=3, **one) == self.wanted(**one), one

    @invariant()
    def no_set_has_a_run_that_is_not_listed(self):
        for key, entries in index_entries(self.store).items():
            ids = {entry.split("\n", 4)[-1] for entry in entries}
            assert ids <= self.runs.keys(), key


def test_list_is_right_in_any_order_of_events(store, monkeypatch):
    def new_store():
        store.clock.ahead = 0.0
        store.clock.stopped_at = 1_800_000_000.0
        return type(store)(store.clock)

    monkeypatch.setattr(Lists, "new_store", staticmethod(new_store))
    run_state_machine_as_test(
        Lists,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=20,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )


def test_words_for_states_have_sets_to_read():
    assert {"live", "ended", "queued", "succeeded"} <= set(STATE_WORDS)
