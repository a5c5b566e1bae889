"""Test that deliveries resolve a purchase in doubt, and that no forged delivery makes a part adopt or buy a job."""

from __future__ import annotations

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import APIConnectionError
from scrape_do_celery.models import JobCreationRequest, UndetailedTaskResponse
from scrape_do_celery.rules.webhook_tokens import PurchaseId, make_url
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartId, PartState, RunSpec
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.deliveries import ReadDeliveries, ReadDeliveryTarget, TakeDelivery
from scrape_do_celery.store.commands.ownership import NoteUnowned
from scrape_do_celery.store.commands.parts import ReadJob
from scrape_do_celery.store.commands.runs import RequestStop
from scrape_do_celery.store.retention import JOB_LOOK_INTERVAL
from tests.unit.conftest import urls
from tests.unit.steps.conftest import HOUR, LEASE, job_listing, ledger_statuses, make_parts_running

KEY = "0123456789abcdef" * 2
BASE = "https://shop.example/hooks"
PART = PartId("r", 0)
PLUGIN = {"plugin": {"key": "google/search", "params": [{"q": "a"}, {"q": "b"}]}}


@pytest.fixture
def hooked(step_harness, settings):
    """Return the harness of a worker that buys with webhooks."""
    checked = type(settings)(webhook_base_url=BASE, webhook_keys=KEY)
    kept = {name: getattr(checked, name) for name in ("webhook_base_url", "webhook_keys")}
    step_harness.settings = settings.model_copy(update=kept)
    return step_harness


def lose_answer(harness, run_id="r", error=None, **request):
    """Buy a job, and lose the answer."""
    spec = RunSpec(JobCreationRequest(**(request or {"targets": urls(2)})), webhook=True)
    harness.run(CreateRun(run_id, spec))
    harness.api.script(create_job=error or APIConnectionError("cut", "POST", "/jobs", "ReadTimeout"))
    harness.run_step(submit_part, harness.claim_part(run_id, seconds=LEASE))
    assert harness.part(run_id).state is PartState.RECONCILING
    harness.api.calls.clear()


@pytest.fixture
def lost(hooked):
    """Return the harness with a part whose purchase is in doubt. The job list is empty, as right after a `POST`."""
    lose_answer(hooked)
    hooked.api.script(list_jobs=lambda _: job_listing())
    return hooked


def note(harness, job_id, task="t0", *, proven=True, run_id="r"):
    part_id = PartId(run_id, 0)
    target = harness.run(ReadDeliveryTarget(part_id))
    taken = harness.run(TakeDelivery(part_id, 1, target, job_id, task, is_proven=proven))
    return str(taken.result), taken.step


def notes(harness):
    return sorted(one.job_id for one in harness.run(ReadDeliveries(PART)).notes)


def reconcile(harness, run_id="r"):
    """Run one search when it is due. Return the requests."""
    harness.clock.forward(max(0.0, harness.part(run_id).due_at - harness.clock.time()) + 0.01)
    harness.redis.delete(harness.keys.quota)
    harness.api.calls.clear()
    harness.run_step(reconcile_part, harness.claim_part(run_id))
    return [" ".join([name, *map(str, rest[:1])]) for name, *rest in harness.api.calls if name != "list_jobs"]


def has_listed(harness):
    return bool(harness.api.called("list_jobs"))


def other_job(make, job_id="j"):
    """Make a job with other targets."""
    tasks = [
        UndetailedTaskResponse(task_id=f"t{n}", url=f"https://other.example/{n}", status="success") for n in (0, 1)
    ]
    return make.job("success", job_id=job_id).model_copy(update={"tasks": tasks})


# Adoption


@pytest.mark.parametrize("proven", [True, False])
def test_noted_job_is_adopted_after_one_request(lost, make, proven):
    assert note(lost, "J", "t1", proven=proven) == ("noted", routing.RECONCILE_SUBMIT)
    assert lost.part().due_at <= lost.clock.time()
    lost.api.script(get_job=make.job(job_id="j"), get_task=make.task(1, job="j"))
    assert reconcile(lost) == ["get_job J", *([] if proven else ["get_task j"])]
    assert not has_listed(lost)
    part = lost.part()
    assert (part.state, part.job_id, part.purchases, lost.api.posts) == (PartState.RUNNING, "j", 1, 1)
    assert lost.run(ReadJob(PART)).task_ids == ["t0", "t1"]


def test_note_of_the_adopted_job_is_a_hint(lost, make):
    note(lost, "j", "T1")
    note(lost, "other", "t0")
    lost.api.script(get_job=make.job(job_id="j", tasks=["pending", "success"]), get_task=make.task(1, job="j"))
    reconcile(lost)
    lost.api.calls.clear()
    lost.run_step(poll_part, lost.claim_part())
    assert lost.api.calls == [("get_task", "j", "t1")]
    assert (lost.part().stored_ok, notes(lost)) == (1, [])


def test_deliveries_are_served_although_the_store_has_lost_the_intent(hooked, make):
    hooked.run(CreateRun("r", RunSpec(JobCreationRequest(targets=urls(3)), webhook=True)))
    hooked.redis.set(hooked.keys.epoch, f"other {hooked.clock.time():.4f} 0 0")
    submit(hooked)
    assert (hooked.part().state, hooked.part().purchases) == (PartState.RECONCILING, 1)
    note(hooked, "j")
    hooked.api.script(get_job=make.job(job_id="j", count=3), get_task=lambda _, task: make.task(int(task[1:]), job="j"))
    reconcile(hooked)
    assert hooked.part().state is PartState.RUNNING
    hooked.run_step(poll_part, hooked.claim_part())
    for position in (1, 2):
        note(hooked, "j", f"t{position}")
        hooked.api.calls.clear()
        hooked.redis.delete(hooked.keys.quota)
        hooked.run_step(poll_part, hooked.claim_part())
        assert ("get_task", "j", f"t{position}") in hooked.api.calls
    assert hooked.part().stored_ok == 3


def test_plugin_needs_the_header_and_the_number_of_tasks(hooked, make):
    lose_answer(hooked, **PLUGIN)
    hooked.api.script(
        list_jobs=lambda _: job_listing(), get_job=lambda i: make.job(job_id=i, count=3 if i == "jj" else 2)
    )
    hooked.api.script(get_task=make.task(0, job="j"))
    note(hooked, "jj")
    assert reconcile(hooked)[:1] == ["get_job jj"]
    assert hooked.part().state is PartState.RECONCILING
    note(hooked, "j", proven=False)
    assert reconcile(hooked)[:1] == ["get_job j"]
    assert hooked.part().state is PartState.RECONCILING
    note(hooked, "j")
    assert reconcile(hooked) == ["get_job j"]
    assert hooked.part().job_id == "j"


def test_echoed_webhook_proves_a_job_whose_note_had_no_header(hooked, make):
    lose_answer(hooked, **PLUGIN)
    url = make_url(BASE, KEY.encode(), PurchaseId("r", 0, 1))
    hooked.api.script(get_job=make.job(job_id="j"), get_task=make.task(0, job="j", webhook_url=url))
    note(hooked, "j", proven=False)
    assert reconcile(hooked) == ["get_job j", "get_task j"]
    assert hooked.part().job_id == "j"


def test_refused_purchase_that_bought_a_job_adopts_it(hooked, make):
    lose_answer(hooked, error=make.refusal(429, 1))
    hooked.clock.forward(2)
    note(hooked, "j")
    hooked.api.script(list_jobs=lambda _: job_listing(), get_job=make.refusal(404))
    for _ in range(3):
        reconcile(hooked)
    assert (hooked.part().state, hooked.api.posts) == (PartState.RECONCILING, 1)
    hooked.api.script(get_job=make.job(job_id="j"))
    reconcile(hooked)
    assert (hooked.part().job_id, hooked.api.posts) == ("j", 1)


@pytest.mark.parametrize("is_early", [True, False])
@pytest.mark.parametrize("status", [403, 429])
def test_delivery_of_a_refused_purchase_is_stronger_than_the_refusal(hooked, make, status, is_early):
    """A gateway may refuse a `POST` that the API has taken. A retry of the run must not buy its targets again."""
    refusal = make.refusal(status, 1)

    def create_job(_):
        if is_early:
            note(hooked, "j")
        raise refusal

    lose_answer(hooked, error=create_job)
    if not is_early:
        note(hooked, "j")
    assert not hooked.part().refused
    hooked.redis.delete(hooked.keys.breaker(hooked.account), hooked.keys.pause)
    hooked.run(RequestStop("r", "cancel"))
    hooked.api.script(list_jobs=make.refusal(500), get_job=make.refusal(404))
    for _ in range(20):
        if hooked.part().state is PartState.DONE:
            break
        hooked.clock.forward(HOUR)
        reconcile(hooked)
    assert (hooked.part().outcome, hooked.api.posts) == ("in_doubt", 1)
    assert ledger_statuses(hooked) == ["in_doubt"]


@pytest.mark.parametrize("status", [400, 402, 422])
def test_delivery_before_the_rejection_of_its_purchase_is_stronger_than_the_rejection(hooked, make, status):
    """If the run failed, nobody would fetch the pages, and a retry would buy them again."""

    def create_job(_):
        assert note(hooked, "j") == ("noted", None)
        raise make.refusal(status)

    lose_answer(hooked, error=create_job)
    hooked.api.script(get_job=make.job(job_id="j"))
    assert reconcile(hooked) == ["get_job j"]
    part = hooked.part()
    assert (part.state, part.job_id, part.purchases, hooked.api.posts) == (PartState.RUNNING, "j", 1, 1)
    assert ledger_statuses(hooked) == ["adopted"]


@pytest.mark.parametrize("is_refused", [True, False])
def test_delivery_during_the_last_search_of_a_stopped_run_is_not_missed(hooked, make, is_refused):
    lose_answer(hooked, error=make.refusal(429, 1) if is_refused else None)
    hooked.run(RequestStop("r", "cancel"))

    def list_jobs(_):
        part = hooked.part()
        if part.refused or part.not_found_at is not None:
            note(hooked, "j")
        return job_listing()

    hooked.api.script(list_jobs=list_jobs, get_job=make.job(job_id="j"))
    for _ in range(20):
        if hooked.part().state is not PartState.RECONCILING:
            break
        hooked.redis.delete(hooked.keys.pause)
        hooked.clock.forward(HOUR)
        reconcile(hooked)
    assert (hooked.part().state, hooked.part().job_id, hooked.api.posts) == (PartState.RUNNING, "j", 1)
    assert ledger_statuses(hooked) == ["adopted"]


# No second purchase


def test_proven_purchase_is_never_repeated(lost, make):
    """The job may not be shown for a while. Without a note, two full lists prove its absence."""
    note(lost, "j")
    lost.api.script(get_job=make.refusal(404))
    for _ in range(20):
        reconcile(lost)
        assert has_listed(lost)
        assert lost.part().state is PartState.RECONCILING
    assert lost.part().intent < lost.clock.time() - 200
    lost.api.script(get_job=make.job(job_id="j"))
    assert reconcile(lost) == ["get_job j"]
    assert (lost.part().job_id, lost.api.posts) == ("j", 1)


def test_proven_purchase_that_is_never_shown_ends_in_doubt(lost, make):
    note(lost, "j")
    lost.api.script(get_job=make.refusal(404))
    for _ in range(80):
        if lost.part().state is PartState.DONE:
            break
        lost.clock.forward(6 * HOUR)
        reconcile(lost)
    assert (lost.part().outcome, lost.api.posts) == ("in_doubt", 1)


def test_error_of_the_api_keeps_the_note(lost, make):
    note(lost, "j", proven=False)
    lost.api.script(get_job=make.refusal(500))
    reconcile(lost)
    assert notes(lost) == ["j"]
    assert lost.part().state is PartState.RECONCILING


def lose_for_good(lost, make):
    """Search until the job of the purchase counts as not found. The part waits for its next `POST`."""
    lost.api.script(get_job=make.refusal(404))
    for _ in range(60):
        if lost.part().state is PartState.QUEUED:
            return
        reconcile(lost)
    raise AssertionError(lost.part())


def submit(harness, run_id="r"):
    harness.redis.delete(harness.keys.quota)
    return harness.run_step(submit_part, harness.claim_part(run_id, seconds=LEASE))


def test_late_delivery_stops_the_second_purchase(lost, make):
    lose_for_good(lost, make)
    before = lost.part()
    assert note(lost, "j") == ("noted", routing.SUBMIT_JOBS)
    assert submit(lost) == StepMessage(routing.RECONCILE_SUBMIT, ("r:0",))
    part = lost.part()
    assert (part.state, part.purchases, part.has_webhook) == (PartState.RECONCILING, 1, True)
    assert (part.intent, part.first_intent, part.watched) == (before.intent, before.first_intent, before.watched)
    lost.api.script(get_job=make.job(job_id="j"))
    assert reconcile(lost) == ["get_job j"]
    assert (lost.part().job_id, lost.api.posts) == ("j", 1)
    assert ledger_statuses(lost) == ["adopted"]
    assert "proven" not in lost.part_fields()


def test_late_delivery_of_a_refused_purchase_stops_the_next_one(hooked, make):
    """The API has refused a `POST` with 429, and bought its job. The number of the purchase is free again."""
    lose_answer(hooked, error=make.refusal(429, 1))
    hooked.clock.forward(2)
    hooked.api.script(list_jobs=lambda _: job_listing())
    reconcile(hooked)
    assert (hooked.part().state, hooked.part().purchases) == (PartState.QUEUED, 0)
    assert note(hooked, "j")[0] == "noted"
    submit(hooked)
    hooked.api.script(get_job=make.job(job_id="j"))
    assert reconcile(hooked) == ["get_job j"]
    assert (hooked.part().job_id, hooked.part().purchases, hooked.api.posts) == ("j", 1, 1)


def test_late_delivery_of_a_stopped_run_cancels_its_job(lost, make):
    lose_for_good(lost, make)
    note(lost, "j")
    lost.run(RequestStop("r", "cancel"))
    submit(lost)
    lost.api.script(get_job=make.job(job_id="j"))
    reconcile(lost)
    assert (lost.part().state, lost.part().job_id, lost.api.posts) == (PartState.RUNNING, "j", 1)


def test_delivery_of_an_earlier_purchase_names_a_job_to_adopt(lost, make):
    lose_for_good(lost, make)
    submit(lost)
    assert (lost.part().state, lost.part().purchases, lost.api.posts) == (PartState.RECONCILING, 2, 2)
    assert note(lost, "j", proven=False) == ("other", None)
    assert note(lost, "j") == ("noted", routing.RECONCILE_SUBMIT)
    lost.api.script(get_job=make.job(job_id="j"))
    reconcile(lost)
    assert (lost.part().job_id, lost.api.posts) == ("j", 2)
    assert note(lost, "j", "t1", proven=False) == ("other", None)
    assert note(lost, "j", "t1")[0] == "hinted"
    assert note(lost, "k", "t1") == ("other", None)


def test_delivery_without_the_header_stops_no_purchase(lost, make):
    lose_for_good(lost, make)
    assert note(lost, "j", proven=False) == ("other", None)
    submit(lost)
    assert lost.api.posts == 2


@pytest.mark.parametrize("is_late", [True, False])
def test_proven_job_with_other_targets_stops_the_second_purchase(lost, make, is_late, caplog):
    """The API may write targets in a way that no rule knows. The right header proves a purchase all the same."""
    if is_late:
        lose_for_good(lost, make)
    note(lost, "j")
    if is_late:
        submit(lost)
    lost.api.script(get_job=other_job(make))
    assert reconcile(lost) == ["get_job j"]
    assert "a webhook with the right header named job j, which does not show the part's targets" in caplog.text
    for _ in range(80):
        if lost.part().state is PartState.DONE:
            break
        lost.clock.forward(6 * HOUR)
        assert reconcile(lost) == []
    assert (lost.part().outcome, lost.api.posts) == ("in_doubt", 1)
    assert "proven" not in lost.part_fields()


def test_search_for_a_proven_purchase_grows_rare(lost, make):
    """No list proves its absence, so the search may go on for the three days for which the API keeps a job."""
    note(lost, "j")
    lost.api.script(get_job=other_job(make))
    for _ in range(12):
        reconcile(lost)
    assert lost.part().state is PartState.RECONCILING
    assert lost.part().due_at - lost.clock.time() > 100
    assert note(lost, "k") == ("noted", routing.RECONCILE_SUBMIT)
    assert lost.part().due_at <= lost.clock.time(), "another delivery does not wait"
    lost.run(RequestStop("r", "cancel"))
    reconcile(lost)
    assert lost.part().due_at - lost.clock.time() < 30, "nor does a stop request"


# Forged notes


@pytest.mark.parametrize("proven", [True, False])
def test_note_of_a_job_with_other_targets_costs_one_request(lost, make, proven):
    note(lost, "j", "t0", proven=proven)
    note(lost, "j", "t1", proven=False)
    lost.api.script(get_job=other_job(make))
    before = lost.part_fields()
    assert reconcile(lost) == ["get_job j"]
    assert notes(lost) == []
    assert reconcile(lost) == []
    after = lost.part_fields()
    assert (lost.part().state, lost.part().job_id, lost.api.posts) == (PartState.RECONCILING, None, 1)
    assert {name: after[name] for name in ("purchases", "intent", "nonce")} == {
        name: before[name] for name in ("purchases", "intent", "nonce")
    }
    assert lost.redis.keys("p:unowned:*") == []


@pytest.mark.parametrize("proven", [True, False])
def test_job_of_another_part_is_not_even_read(hooked, make, proven):
    make_parts_running(hooked, ["s"])
    lose_answer(hooked)
    note(hooked, "job-s", proven=proven)
    hooked.api.script(list_jobs=lambda _: job_listing(), get_job=make.job(job_id="job-s"))
    assert reconcile(hooked) == []
    assert notes(hooked) == []
    assert hooked.part("s").job_id == "job-s"
    assert hooked.part().job_id is None


def test_forged_notes_do_not_keep_a_job_from_being_bought_again(lost, make):
    """Notes without the header prove no purchase."""
    for number in range(2):
        note(lost, f"j{number}", proven=False)
    lost.api.script(get_job=make.refusal(404))
    for _ in range(60):
        if lost.part().state is PartState.QUEUED:
            return
        reconcile(lost)
    raise AssertionError(lost.part())


def test_flood_of_forged_notes_costs_one_search_in_five_seconds(lost, make):
    """A step drops each note that names no job of the part, so the notes never fill their room."""
    lost.clock.stop()
    lost.api.script(get_job=make.refusal(404))
    searches = 0
    for number in range(60):
        note(lost, f"j{number}", proven=False)
        if lost.part().due_at <= lost.clock.time():
            reconcile(lost)
            searches += 1
        lost.clock.forward(0.5)
    own = 1
    assert searches <= own + 1 + 30 / JOB_LOOK_INTERVAL


def test_true_note_is_served_at_once_during_a_flood(lost, make):
    lost.clock.stop()
    lost.api.script(get_job=make.refusal(404))
    for number in range(2):
        note(lost, f"j{number}", proven=False)
        reconcile(lost)
    assert note(lost, "j") == ("noted", routing.RECONCILE_SUBMIT)
    lost.api.script(get_job=make.job(job_id="j"))
    assert reconcile(lost) == ["get_job j"]
    assert lost.part().job_id == "j"


def test_few_notes_are_read_at_a_time_and_proven_ones_first(hooked, make):
    lose_answer(hooked, targets=urls(6))
    hooked.api.script(list_jobs=lambda _: job_listing(), get_job=lambda i: other_job(make, i))
    for name in "abcde":
        note(hooked, name, proven=False)
    note(hooked, "own")
    assert reconcile(hooked)[0] == "get_job own"
    assert len(notes(hooked)) == 3
    assert len(reconcile(hooked)) == 3
    assert notes(hooked) == []


def test_note_without_the_header_is_no_proof_on_a_shared_account(lost, make):
    """Another program may have bought the noted job: the targets are equal."""
    note(lost, "j", proven=False)
    lost.settings = lost.settings.model_copy(update={"shared_account": True})
    lost.api.script(get_job=make.job(job_id="j"), get_task=make.task(0, job="j"))
    assert reconcile(lost) == ["get_job j", "get_task j"]
    assert lost.part().state is PartState.RECONCILING


def test_job_that_is_older_than_the_purchase_is_not_adopted(hooked, make):
    hooked.run(NoteUnowned(hooked.account, ["j"]))
    lose_answer(hooked)
    hooked.api.script(list_jobs=lambda _: job_listing(), get_job=make.job(job_id="j"))
    note(hooked, "j", proven=False)
    assert reconcile(hooked) == ["get_job j"]
    assert hooked.part().state is PartState.RECONCILING


def test_run_without_webhooks_reads_no_notes(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=APIConnectionError("cut", "POST", "/jobs", "ReadTimeout"))
    answer = step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert answer == StepMessage(routing.RECONCILE_SUBMIT, ("r:0",))
    step_harness.api.script(list_jobs=lambda _: job_listing())
    assert reconcile(step_harness) == []


@pytest.mark.parametrize("status", [400, 403, 500])
@pytest.mark.parametrize("proven", [True, False])
def test_refused_request_for_a_noted_job_stops_no_search(lost, make, status, proven):
    """The API may refuse the id of a forged note as malformed, and a gateway may take it for an attack."""
    note(lost, "x", proven=proven)

    def get_job(job_id):
        if job_id == "x":
            raise make.refusal(status)
        return make.job(job_id=job_id)

    lost.api.script(get_job=get_job, get_task=make.task(0, job="j"))
    assert reconcile(lost) == ["get_job x"]
    part = lost.part()
    assert (has_listed(lost), part.state, part.api_failures, part.refused_since) == (
        True,
        PartState.RECONCILING,
        0,
        None,
    )
    assert not lost.redis.exists(lost.keys.breaker(lost.account))
    assert notes(lost) == ([] if status < 500 and not proven else ["x"])
    lost.api.script(list_jobs=lambda _: job_listing(make.job(job_id="j")))
    reconcile(lost)
    assert (lost.part().job_id, lost.api.posts) == ("j", 1)
