"""Test that bulk calls act on the right runs, once, and carry on after an interruption."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scrape_do_celery import (
    ConfigurationError,
    RunHandle,
    StoreUnavailableError,
    cancel_runs,
    enqueue,
    forget_runs,
    list_runs,
    retry_failed,
    retry_runs,
)
from scrape_do_celery.runs import bulk, bulk_actions
from scrape_do_celery.runs.bulk import BulkCall
from scrape_do_celery.runs.bulk_actions import RetryAction
from scrape_do_celery.runs.hooks import override_hooks
from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ReadLineage, ReadSpec, RecordOutcome
from scrape_do_celery.store.encryption import Encryptor


@pytest.fixture(autouse=True)
def app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    return step_harness


@pytest.fixture
def start(make):
    numbers = count()

    def start_tagged(targets=2, **options):
        urls = [f"https://shop.example/{next(numbers)}" for _ in range(targets)]
        return enqueue(urls, **{"tags": ["t"], **options}).run_id

    return start_tagged


@pytest.fixture
def end(app, end_run):
    """Return a function that ends and delivers a run of one part, as `end_run` does, and returns its id."""

    def end(run_id, *pages, outcome="succeeded"):
        end_run(run_id, *pages, outcome=outcome, retention=app.app_context.retention)
        return run_id

    return end


@pytest.fixture
def end_in_doubt(app):
    def end_run(run_id):
        app.set_fields(run_id, purchases=1)
        app.finish_part(run_id, outcome="in_doubt")
        app.run(RecordOutcome(run_id, "in_doubt", {}))
        app.run(AcknowledgeDelivery(run_id, run_id, app.app_context.retention))
        return run_id

    return end_run


def reasons(groups):
    return {one.reason: one.count for one in groups}


def targets(app, run_id):
    return app.run(ReadSpec(run_id, 1)).request.targets


def lineage(app, run_id):
    return app.run(ReadLineage(run_id))


# Consent


@pytest.fixture
def mistakes():
    """Return the arguments of calls that may be mistakes, each with a text of the refusal."""
    return [
        ({}, "needs a filter"),
        ({"tag": None, "state": None}, "needs a filter"),
        ({"until": datetime(2100, 1, 1, tzinfo=UTC)}, "needs a filter"),
        ({"everything": True, "tag": "t"}, "not both: leave out tag"),
        ({"everything": "no", "tag": "t"}, "everything must be True or False"),
        ({"tag": "t", "dry_run": "no"}, "dry_run must be True or False"),
        ({"tag": "t", "limit": 0}, "limit must be"),
        ({"tag": "t", "limit": True}, "limit must be"),
        ({"tag": "t", "until": datetime.now(UTC).replace(tzinfo=None)}, "until must be a datetime with a time zone"),
        ({"tag": "a b"}, "a tag must have"),
        ({"tag": ""}, "a tag must have"),
        ({"state": ""}, "state must be one of"),
        ({"tag": "t", "cursor": "?"}, "cursor must be"),
    ]


@pytest.mark.parametrize("call", [cancel_runs, retry_runs, forget_runs])
def test_call_that_may_be_a_mistake_is_refused(app, start, end, mistakes, call):
    start()
    end(start(), True, False)
    before = app.dump_keys()
    for arguments, named in mistakes:
        with pytest.raises(ValueError, match=named):
            call(**arguments)
        assert app.dump_keys() == before, arguments


def test_wrong_limit_of_children_is_refused_before_a_run_is_read(app):
    with pytest.raises(ValueError, match="max_credits"):
        retry_runs(tag="t", max_credits=-1)


def test_whole_store_needs_consent(start, end, app):
    live, ended = start(tags=[]), end(start(), True, True)
    report = forget_runs(everything=True)
    assert (report.runs, report.pages, reasons(report.skipped)) == (1, 2, {"live": 1})
    assert app.run_ids() == {live}
    assert cancel_runs(everything=True).runs == 1
    assert ended not in app.run_ids()


# Cancel and forget


def test_live_runs_of_a_tag_are_canceled(app, start, end):
    wanted, ended, other = [start(), start()], end(start(), True, True), start(tags=["other"])
    plan = cancel_runs(tag="t", dry_run=True)
    assert (plan.runs, plan.tasks, plan.skipped, plan.cursor) == (2, 0, (), None)
    assert all(app.read_run(run_id).stop_reason is None for run_id in wanted)
    report = cancel_runs(tag="t", until=plan.until)
    assert (report.runs, report.estimate, report.until) == (2, None, plan.until)
    assert [app.read_run(run_id).stop_reason for run_id in (*wanted, ended, other)] == ["cancel", "cancel", None, None]
    assert reasons(cancel_runs(tag="t", state="ended").skipped) == {"ended": 1}


def test_run_that_ends_before_its_cancellation_is_told(start, end, monkeypatch):
    run_id = start()
    monkeypatch.setattr(bulk_actions.RunHandle, "cancel", lambda handle: end(handle.run_id, True, True) and False)
    report = cancel_runs(tag="t")
    assert (report.runs, reasons(report.skipped), report.skipped[0].run_ids) == (0, {"ended": 1}, (run_id,))


def test_ended_runs_are_forgotten_and_others_are_told(app, start, end, end_in_doubt):
    gone = [end(start(), True, True), end(start(), True, False, outcome="failed")]
    live, unsure, newer = start(), end_in_doubt(start()), end(start(), True, True)
    app.redis.hset(app.keys.run(newer), "v", 2)
    before = app.dump_keys()
    plan = forget_runs(tag="t", dry_run=True)
    assert app.dump_keys() == before
    report = forget_runs(tag="t", until=plan.until)
    for one in (plan, report):
        assert (one.runs, one.pages, one.tasks, one.found) == (2, 3, 0, 5)
        assert {group.reason: group.run_ids for group in one.skipped} == {
            "live": (live,),
            "in_doubt": (unsure,),
            "newer": (newer,),
        }
    assert app.run_ids() == {live, unsure, newer}
    assert not set(gone) & {status.run_id for status in list_runs().runs}


def test_run_that_waits_for_its_export_is_not_forgotten(app, start, end):
    run_id = end(start(export="/data/{run_id}.jsonl"), True, True)
    assert app.read_run(run_id).awaits_export
    for dry_run in (True, False):
        report = forget_runs(tag="t", dry_run=dry_run)
        assert (report.runs, reasons(report.skipped)) == (0, {"exporting": 1})
    assert "forget" not in app.run_fields(run_id)


def test_run_with_a_live_child_is_not_forgotten(app, start, end):
    """Without the first run, nobody can merge the pages of the child with those that it was to complete."""
    first = end(start(), True, False)
    child = retry_failed(first).run_id
    report = forget_runs(tag="t")
    assert (report.runs, reasons(report.skipped)) == (0, {"live": 1, "retried": 1})
    end(child, True)
    assert RunHandle(first).merged().missing == []
    assert forget_runs(tag="t").runs == 2


def test_limit_of_an_interrupted_call_reaches_each_run_once(app, start, end, monkeypatch):
    """Runs of one moment are told apart by their ids, also between two runs of a page."""
    runs = [end(start(), True, False) for _ in range(6)][::-1]
    call = BulkCall(RetryAction(), {"tag": "t"}, limit=4)
    reports = call.iter_reports()
    found = [next(reports) for _ in range(3)][-1]
    rest = retry_runs(tag="t", until=found.until, cursor=found.cursor, limit=4 - found.found)
    assert (rest.runs, rest.skipped) == (1, ())
    assert [len(lineage(app, run_id)) for run_id in runs] == [2, 2, 2, 2, 1, 1]


def test_pages_that_have_expired_are_not_counted(app, start, end):
    run_id = end(start(), True, True)
    app.redis.delete(app.keys.contents(PartId(run_id, 0)))
    assert forget_runs(tag="t", dry_run=True).pages == 0


def test_run_that_is_forgotten_meanwhile_is_told(start, end, monkeypatch):
    run_id = end(start(), True, True)
    found = list_runs()
    RunHandle(run_id).forget()
    monkeypatch.setattr(bulk, "list_runs", lambda **_: found)
    for call in (forget_runs, cancel_runs, retry_runs):
        report = call(tag="t")
        assert (report.runs, reasons(report.skipped)) == (0, {"unknown": 1})


def test_runs_of_a_later_time_are_never_touched(app, start, end):
    """A run that begins in the very moment after the call is later, although a record rounds its time."""
    plan = forget_runs(tag="t", dry_run=True, until=datetime.now(UTC) + timedelta(days=1))
    later = end(start(), True, True)
    assert forget_runs(tag="t", until=plan.until).found == 0
    assert app.run_ids() == {later}


def test_pages_of_a_limited_call_are_carried_on(app, start, end, monkeypatch):
    monkeypatch.setattr(bulk, "_PAGE", 2)
    for _ in range(7):
        end(start(1), True)
    first = forget_runs(tag="t", limit=3)
    assert (first.runs, len(app.run_ids())) == (3, 4)
    second = forget_runs(tag="t", until=first.until, cursor=first.cursor)
    assert (second.runs, second.cursor, app.run_ids()) == (4, None, set())


# Errors


def test_error_of_one_run_does_not_end_the_call(app, start, end):
    runs = [end(start(), True, False) for _ in range(5)]
    for run_id in runs[:4]:
        app.redis.delete(app.keys.contents(PartId(run_id, 0)))
    report = retry_runs(tag="t")
    assert (report.runs, report.tasks, reasons(report.failed)) == (1, 1, {"ResultExpiredError": 4})
    [group] = report.failed
    assert group.run_ids == tuple(runs[3:0:-1])
    assert str(group).startswith("4 ResultExpiredError: the contents of run ")
    assert str(group).endswith(", ...)")


def test_run_with_a_lost_encryption_key_does_not_end_the_call(app, start, end):
    keys = app.keys
    app.app_context.store.keys = app.keys = type(keys)("p", Encryptor([b"1" * 32]))
    end(start(), True, False)
    app.app_context.store.keys = app.keys = keys
    end(start(), True, False)
    report = retry_runs(tag="t")
    assert (report.runs, reasons(report.failed)) == (1, {"EncryptionKeyError": 1})


def test_error_of_the_application_ends_the_call(app, start, end):
    end(start(), True, False)
    app.app.conf.task_always_eager = True
    with pytest.raises(ConfigurationError):
        retry_runs(tag="t")


def test_silent_store_tells_how_to_carry_on(app, start, monkeypatch):
    monkeypatch.setattr(bulk, "_PAGE", 2)
    runs = [start() for _ in range(5)][::-1]
    cancel = RunHandle.cancel

    def fail_at_fourth(handle):
        if handle.run_id == runs[3]:
            raise StoreUnavailableError("no answer", "", [handle.run_id], True)
        return cancel(handle)

    with monkeypatch.context() as patch:
        patch.setattr(bulk_actions.RunHandle, "cancel", fail_at_fourth)
        with pytest.raises(StoreUnavailableError, match="no answer; 3 runs are done: to carry on, repeat") as caught:
            cancel_runs(tag="t", limit=5)
    assert (caught.value.run_ids, caught.value.may_be_written) == ((runs[3],), True)
    assert str(caught.value).endswith(", limit=2")
    arguments = eval(f"dict({str(caught.value).partition('with ')[2]})")
    assert cancel_runs(tag="t", **arguments).runs == 2
    assert all(app.read_run(run_id).stop_reason == "cancel" for run_id in runs)


# Retry


def test_missing_pages_are_bought_after_a_look_at_their_cost(app, start, end, end_in_doubt):
    one, two = end(start(3), True, False, False), end(start(), False, True, outcome="failed")
    end(start(), True, True)
    live, unsure = start(), end_in_doubt(start())
    before = app.run_ids()
    plan = retry_runs(tag="t", dry_run=True)
    assert (plan.runs, plan.tasks, plan.estimate.expected, plan.failed) == (2, 3, 3.0, ())
    assert reasons(plan.skipped) == {"complete": 1, "live": 1, "in_doubt": 1}
    assert app.run_ids() == before
    report = retry_runs(tag="t", until=plan.until, max_credits=7)
    assert (report.runs, report.tasks, report.estimate, report.skipped) == (2, 3, None, plan.skipped)
    assert [len(lineage(app, run_id)) for run_id in (one, two, live, unsure)] == [2, 2, 1, 1]
    for run_id, missing in ((one, [1, 2]), (two, [0])):
        urls = targets(app, run_id)
        child = app.run(ReadSpec(lineage(app, run_id)[1], 1))
        assert (child.request.targets, child.max_credits) == ([urls[at] for at in missing], 7)


def test_child_over_a_limit_is_refused_in_the_plan_too(app, start, end):
    run_id = end(start(3), False, False, False)
    for dry_run in (True, False):
        report = retry_runs(tag="t", max_credits=1, dry_run=dry_run)
        assert (report.runs, report.tasks, reasons(report.failed)) == (0, 0, {"BudgetExceededError": 1})
        assert report.failed[0].run_ids == (run_id,)
    assert app.run_ids() == {run_id}


def test_lineage_is_retried_once_although_several_of_its_runs_are_found(app, start, end):
    first = end(start(3), True, False, False)
    second = end(retry_failed(first).run_id, True, False)
    plan = retry_runs(tag="t", dry_run=True)
    report = retry_runs(tag="t", until=plan.until)
    for one in (plan, report):
        assert (one.runs, one.tasks, reasons(one.skipped)) == (1, 1, {"retried": 1})
    third = end(lineage(app, first)[2], False)
    assert lineage(app, second) == [first, second, third]
    # The child has ended without its page. Only a new call may buy it again.
    again = retry_runs(tag="t", until=plan.until)
    assert (again.runs, reasons(again.skipped)) == (0, {"retried": 2})
    assert retry_runs(tag="t").runs == 1


def test_lineage_is_retried_once_although_the_clock_steps_back(app, start, end, clock):
    first = end(start(3), True, False, False)
    end(retry_failed(first).run_id, True, False)
    call = BulkCall(RetryAction(), {"tag": "t"})
    reports = call.iter_reports()
    clock.ahead -= 3600
    assert next(reports).runs == 1
    end(lineage(app, first)[2], False)
    assert [one.runs for one in reports] == [1]


def test_live_child_is_the_retry(app, start, end):
    first = end(start(), True, False)
    child = retry_failed(first).run_id
    report = retry_runs(tag="t")
    assert (report.runs, {one.reason: one.run_ids for one in report.skipped}) == (
        0,
        {"live": (child,), "retried": (first,)},
    )


def test_callers_at_once_buy_each_lineage_once(app, start, end):
    runs = [end(start(), True, False) for _ in range(6)]
    barrier = threading.Barrier(4)

    def call(_):
        one = BulkCall(RetryAction(), {"tag": "t"})
        barrier.wait(30)
        return one.finish()

    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(call, range(4)))
    assert [len(lineage(app, run_id)) for run_id in runs] == [2] * 6
    assert (sum(one.runs for one in reports), sum(one.tasks for one in reports)) == (6, 6)
    assert [one.found for one in reports] == [6] * 4


def test_slower_caller_reports_no_purchase(app, start, end):
    first = end(start(), True, False)
    action = RetryAction()
    draft = action.draft(first, app.clock.time())
    child = retry_failed(first).run_id
    assert draft.carry_out() == "retried"
    assert lineage(app, first) == [first, child]


KINDS = st.sampled_from(["missing", "complete", "live", "in_doubt", "missing after a retry", "live retry"])


@settings(
    max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), kinds=st.lists(KINDS, min_size=1, max_size=4))
def test_any_two_callers_and_a_repetition_after_a_death_buy_each_missing_page_once(
    app, start, end, end_in_doubt, data, kinds
):
    app.redis.flushall()
    make = {
        "missing": lambda: end(start(), True, False),
        "complete": lambda: end(start(), True, True),
        "live": start,
        "in_doubt": lambda: end_in_doubt(start()),
        "missing after a retry": lambda: end(retry_failed(end(start(), True, False)).run_id, False),
        "live retry": lambda: retry_failed(end(start(), True, False)).run_id,
    }
    firsts = [lineage(app, make[kind]())[0] for kind in kinds]
    before = app.run_ids()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "_PAGE", data.draw(st.integers(1, 3), "page"))
        calls = [BulkCall(RetryAction(), {"tag": "t"}) for _ in range(2)]
        walks = [call.iter_reports() for call in calls]
        until = calls[0].report.until
        for who in data.draw(st.lists(st.integers(0, 1), max_size=6), "turns"):
            next(walks[who], None)
            for child in [lineage(app, first)[-1] for first in firsts]:
                is_new = child not in before and app.read_run(child).outcome is None
                if is_new and data.draw(st.booleans(), "the child ends"):
                    end(child, False)
        # The first caller dies, and somebody repeats its call.
        cursor = calls[0].report.cursor if data.draw(st.booleans(), "with the cursor") else None
        again = BulkCall(RetryAction(), {"tag": "t", "until": until}, cursor=cursor).finish()
        for _ in walks[1]:
            pass
    bought = {first: [run_id for run_id in lineage(app, first) if run_id not in before] for first in firsts}
    expected = [1 if kind in {"missing", "missing after a retry"} else 0 for kind in kinds]
    assert [len(bought[first]) for first in firsts] == expected
    assert app.run_ids() - before == {run_id for found in bought.values() for run_id in found}
    for first, found in bought.items():
        if found:
            assert targets(app, found[0]) == targets(app, first)[1:]
    assert sum(one.runs for one in (*(call.report for call in calls), again)) == sum(expected)


def test_children_of_a_transaction_are_counted_once(app, start, end):
    first = end(start(3), True, False, False)
    end(retry_failed(first).run_id, True, False)
    commits = []
    with override_hooks(lambda hooks: replace(hooks, after_commit=lambda: commits.append)):
        report = retry_runs(tag="t")
    assert (report.runs, len(commits), len(lineage(app, first))) == (1, 1, 2)
    commits[0]()
    assert len(lineage(app, first)) == 3


def test_report_as_json(start, end):
    end(start(), True, False)
    report = retry_runs(tag="t", dry_run=True)
    assert report.to_json() == {
        "runs": 1,
        "tasks": 1,
        "pages": 0,
        "estimate": {"expected": 1.0, "minimum": 1.0, "maximum": None},
        "skipped": [],
        "failed": [],
        "until": report.until.isoformat(),
        "cursor": None,
    }
