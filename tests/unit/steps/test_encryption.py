"""Test encrypted runs: steps with another key, or without a key, leave them unchanged."""

from __future__ import annotations

import base64

import pytest
from celery.exceptions import Ignore, Reject
from redis.exceptions import NoPermissionError

from scrape_do_celery import RunHandle
from scrape_do_celery.diagnostics import WARNING, WRONG, check_encryption_keys
from scrape_do_celery.errors import (
    EncryptionKeyError,
    IdempotencyConflictError,
    JobLostError,
    PoisonedRunError,
    RefusedValueError,
    RunError,
    RunNotFoundError,
)
from scrape_do_celery.models import JobsListResponse
from scrape_do_celery.routing import Step
from scrape_do_celery.runs import AppContext, RunStatus, enqueue, make_app
from scrape_do_celery.runs.results import has_refused_values
from scrape_do_celery.server_checks import check_plain_values
from scrape_do_celery.steps import requeue
from scrape_do_celery.steps.aggregate import decide_run
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.deliver import deliver_run
from scrape_do_celery.steps.isolation import Isolation
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.runner import StepDefinition, _run_parts
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import CANCEL, PartId, PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands import dispatch
from scrape_do_celery.store.commands.arguments import START
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.creation import AcceptRun
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MAX
from scrape_do_celery.store.commands.limits import OpenBreaker
from scrape_do_celery.store.commands.ownership import ScanConflictingParts
from scrape_do_celery.store.commands.parts import (
    FinishPart,
    NeedsKey,
    PoisonedPart,
    PoisonPolicy,
    ReadJob,
    ReadPartSpec,
    UpdatePart,
)
from scrape_do_celery.store.commands.purchases import digest_claim
from scrape_do_celery.store.commands.runs import (
    AcknowledgeDelivery,
    CountDecisionAttempt,
    ForgetRun,
    ReadSpec,
    RequestStop,
)
from scrape_do_celery.store.commands.stats import ReadClock
from scrape_do_celery.store.encryption import ENCRYPTED_PREFIX
from scrape_do_celery.tasks import deliver_outcome
from scrape_do_celery.worker import lifecycle
from tests.support.module_sleep import replace_sleep

OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
COOKIE = "cookie-that-is-private"


@pytest.fixture
def encrypted(step_harness, settings):
    """Return the harness with an encryption key in its settings. `encrypted.use(key)` sets another key."""

    def use(key, **more):
        found = settings.model_copy(update={"encryption_key": None})
        if key:
            found = type(settings)(**{**settings.model_dump(exclude_none=True), "encryption_key": key, **more})
        step_harness.settings = found
        step_harness.app = step_harness.catch_messages(make_app(found))
        step_harness.app_context = AppContext.for_app(step_harness.app)
        step_harness.sync_store = step_harness.app_context.store
        step_harness.keys = step_harness.sync_store.keys
        return step_harness

    step_harness.use = use
    use(OLD)
    yield step_harness
    WorkerContext.close_for_app(step_harness.app)


def secret(step_harness, **options):
    return step_harness.create_run(request={"set_cookies": f"a={COOKIE}"}, **options)


def everything(step_harness):
    """Return each value of the store that may be private, by its key and field."""
    found = {}
    for key in step_harness.redis.scan_iter():
        kind = step_harness.redis.type(key)
        if kind == b"hash":
            found |= {(key, name): value for name, value in step_harness.redis.hgetall(key).items()}
        elif kind == b"string":
            found[key, b""] = step_harness.redis.get(key)
    return found


def decide(step_harness, run_id="r"):
    return step_harness.run_step(lambda context, _: decide_run(context, run_id), None)


def test_everything_private_is_encrypted(encrypted, make):
    secret(encrypted, signature='{"private": true}', max_wait=60)
    encrypted.make_running()
    claim = encrypted.claim_part()
    encrypted.run(UpdatePart(claim, {"api_error": "quoted", "submit_error": "quoted"}, after=0.0, job=make.job()))
    encrypted.store_content(position=0)
    error = JobLostError("quoted", "r")
    assert encrypted.run(FinishPart(encrypted.claim_part(), "lost", error=error)) == 0
    decide(encrypted)
    found = {
        (key.split(b":")[1], name)
        for (key, name), value in everything(encrypted).items()
        if value[:1] == ENCRYPTED_PREFIX
    }
    assert found == {
        *((b"run", name) for name in (b"spec", b"targets:0", b"waiter:r", b"result", b"error")),
        *((b"part", name) for name in (b"api_error", b"submit_error", b"error")),
        (b"job", b""),
        (b"contents", b"0"),
    }
    record = encrypted.read_run()
    assert record.unreadable is None
    assert (record.error.args, record.parts[0].error.args) == (error.args, error.args)
    assert record.result["outcome"] == "lost"
    assert record.waiters == {"r": '{"private": true}'}
    assert record.request_summary == {"max_wait": 60.0, "set_cookies": "***"}
    part = PartId("r", 0)
    assert encrypted.run(ReadPartSpec(part)) == encrypted.run(ReadSpec("r", 1))
    assert encrypted.run(ReadJob(part)).job_id == "job-r-0"
    assert encrypted.run(ReadContents(part, [0, 1]))[0].content == "<html>"


@pytest.mark.parametrize("key", [NEW, None])
@pytest.mark.parametrize("state", [PartState.QUEUED, PartState.SUBMITTING, PartState.RUNNING, PartState.FETCHING])
@pytest.mark.parametrize("stop_reason", [False, True])
def test_step_without_the_key_leaves_the_part_unchanged(encrypted, key, state, stop_reason, caplog):
    secret(encrypted)
    if state is not PartState.QUEUED:
        encrypted.make_running(state=state)
    if stop_reason:
        encrypted.run(RequestStop("r", CANCEL))
        encrypted.set_fields(state=state, lease=None, outcome=None)
    before = everything(encrypted)
    encrypted.use(key)
    handled = []

    async def handler(context, claim):
        handled.append(claim)

    for _ in range(10):
        publish(encrypted, handler, *PartState)
    assert handled == []
    assert everything(encrypted) == before
    assert caplog.text.count("runs wait for a worker with another encryption key") <= 10
    encrypted.use(OLD)
    assert encrypted.try_claim_part() is not None


def publish(step_harness, handler, *states):
    """Run a step through `run_step`, as its message does."""
    definition = StepDefinition(Step.SUBMIT, set(states), handler, 30.0)
    step_harness.run_step(lambda context, _: _run_parts(_named(context), [PartId("r", 0)], definition), None)


def _named(context):
    context._missing_keys, context.isolation = set(), Isolation()
    return context


def test_missing_key_is_reported_at_the_claim(encrypted):
    secret(encrypted)
    (name,) = encrypted.keys.key_names
    encrypted.use(NEW)
    assert encrypted.try_claim_part() == NeedsKey(name)
    assert encrypted.due_parts()["r:0"] <= dispatch.REDISPATCH_MIN + 1


def test_run_with_missing_key_is_published_ever_less_often(encrypted):
    secret(encrypted)
    encrypted.use(NEW)
    messages = 0
    for _ in range(600):
        encrypted.clock.forward(5)
        for part in encrypted.claim_due().parts:
            messages += 1
            assert isinstance(encrypted.try_claim_part(part.part_id.run_id, part.part_id.part), NeedsKey)
    assert messages <= 20, "in 50 minutes"
    encrypted.use(OLD)
    encrypted.clock.forward(REDISPATCH_MAX)
    assert [part.part_id.run_id for part in encrypted.claim_due().parts] == ["r"]
    assert encrypted.claim_part()


def test_with_both_keys_all_is_read_and_the_first_encrypts(encrypted):
    secret(encrypted)
    old = encrypted.keys.key_names[0]
    encrypted.use(f"{NEW},{OLD}")
    new = encrypted.keys.key_names[0]
    claim = encrypted.claim_part()
    assert claim.spec().request.set_cookies == f"a={COOKIE}"
    assert encrypted.run_fields()["key"] == f"{old} {new}"
    encrypted.use(OLD)
    assert encrypted.try_claim_part(states=PartState) is None or isinstance(encrypted.try_claim_part(), NeedsKey)


def test_unencrypted_run_continues_after_a_key_is_set(encrypted):
    encrypted.use(None)
    secret(encrypted)
    encrypted.use(OLD)
    with pytest.raises(RefusedValueError, match="run r: the field spec is not encrypted"):
        encrypted.claim_part().spec()
    encrypted.set_fields(lease=None)
    encrypted.use(OLD, allow_plain=True)
    assert encrypted.claim_part().spec().request.set_cookies == f"a={COOKIE}"
    assert encrypted.run_fields()["key"] == encrypted.keys.key_names[0]
    encrypted.use(None)
    encrypted.set_fields(lease=None)
    assert isinstance(encrypted.try_claim_part(), NeedsKey)


@pytest.mark.parametrize(("step", "state"), [(submit_part, PartState.QUEUED), (reconcile_part, PartState.SUBMITTING)])
def test_unreadable_part_is_neither_bought_nor_counted(encrypted, step, state, make):
    """Encrypt a value with another key in a way that the claim cannot detect."""
    secret(encrypted)
    if state is PartState.SUBMITTING:
        encrypted.set_fields(state=state, intent="1", account=encrypted.settings.account_id)
    other = encrypted.use(NEW)
    kept = other.keys.encrypt(other.keys.run("r"), "spec", b"{}")
    encrypted.use(OLD)
    encrypted.redis.hset(encrypted.keys.run("r"), "spec", kept)
    encrypted.api.script(list_jobs=JobsListResponse(jobs=[make.job(job_id="j")], total_pages=1), get_job=make.job())
    for _ in range(encrypted.settings.poison_after + 2):
        publish(encrypted, step, state)
        part = encrypted.part()
        assert (part.state, part.outcome, part.attempts) == (state, None, 0)
        encrypted.clock.forward(31)
    assert encrypted.api.posts == 0


@pytest.fixture
def ended(encrypted, make):
    """Return a failed, encrypted run, read by a process with another key."""
    secret(encrypted, signature='{"task": "x"}')
    encrypted.make_running()
    claim = encrypted.claim_part()
    encrypted.run(UpdatePart(claim, {}, after=0.0, job=make.job("success")))
    encrypted.store_content(position=0)
    encrypted.finish_part()
    return encrypted


def test_a_run_is_not_decided_without_its_key(ended, caplog):
    ended.use(NEW)
    for _ in range(20):
        assert ended.run_step(lambda context, _: decide_run(_named(context), "r"), None) is None
    assert "deciding" not in ended.run_fields()
    ended.use(OLD)
    assert decide(ended).outcome == "succeeded"


def test_a_run_is_not_reported_without_its_key(ended, monkeypatch, caplog):
    replace_sleep(monkeypatch, requeue, lambda _: None)
    decide(ended)
    ended.step_messages()
    ended.use(NEW)
    deliver_run(ended.app_context, "r")
    assert ended.sent == []
    assert "run r cannot be delivered here" in caplog.text
    step = ended.app.tasks[deliver_outcome.name]
    step.push_request(id="r", args=["r"])
    with pytest.raises(Reject) as caught:
        step.run("r")
    step.pop_request()
    assert caught.value.requeue


def test_a_cancel_that_cannot_read_decides_nothing(encrypted, make):
    """Complete a job that names no task from its contents, which are encrypted with another key."""
    encrypted.create_run()
    encrypted.make_running()
    encrypted.store_content(position=0)
    encrypted.store_content(position=1)
    other = encrypted.use(NEW)
    key = other.keys.contents(PartId("r", 0))
    strange = other.keys.encrypt(key, "0", b"x")
    encrypted.use(OLD)
    encrypted.redis.hset(key, "0", strange)
    encrypted.run(RequestStop("r", CANCEL))
    encrypted.set_fields(stop_seen_at="1")
    encrypted.api.script(get_job=make.job("success", summary=False))
    publish(encrypted, cancel_part, PartState.RUNNING)
    assert (encrypted.part().state, encrypted.part().outcome) == (PartState.FETCHING, None)


def test_another_request_is_told_from_this_one_without_the_key(encrypted):
    enqueue(["https://a.example/"], idempotency_key="k", settings=encrypted.settings)
    encrypted.use(NEW)
    same = enqueue(["https://a.example/"], idempotency_key="k", settings=encrypted.settings)
    assert same.state == "queued"
    with pytest.raises(IdempotencyConflictError, match=r"with another request: .* Add that key"):
        enqueue(["https://b.example/"], idempotency_key="k", settings=encrypted.settings)


def test_reading_without_the_key_explains_the_cure(ended, monkeypatch):
    decide(ended)
    ended.use(NEW)
    handle = RunHandle("r", app_context=ended.app_context)
    assert handle.state == "succeeded"
    assert handle.progress == (1, 0, 2)
    for read in (handle.result, lambda: list(handle.iter_tasks()), lambda: handle.job):
        with pytest.raises(EncryptionKeyError, match="Add that key"):
            read()


def test_the_error_of_a_run_is_that_of_the_key(encrypted):
    secret(encrypted)
    encrypted.finish_part(outcome="lost", error=JobLostError("gone", "r"))
    decide(encrypted)
    encrypted.use(NEW)
    assert isinstance(encrypted.read_run().error, EncryptionKeyError)
    with pytest.raises(EncryptionKeyError):
        RunHandle("r", app_context=encrypted.app_context).result()


def test_missing_keys_are_named(encrypted, clock):
    def check():
        return list(check_encryption_keys(encrypted.app_context.store, encrypted.settings.record_ttl))

    secret(encrypted)
    assert check() == []
    (name,) = encrypted.keys.key_names
    encrypted.use(NEW)
    (found,) = check()
    assert found.level == WRONG
    assert f"encrypted with key {name}, which SCRAPE_DO_ENCRYPTION_KEY of this process lacks" in found.text
    assert "add it after the first key" in found.text
    encrypted.use(None)
    assert "the variable is not set: set it to that key" in check()[0].text
    clock.forward(encrypted.settings.record_ttl + 1)
    assert check() == []


def test_runs_with_the_same_options_do_not_conflict(encrypted):
    """Compare by digest, because equal options differ once they are encrypted."""
    secret(encrypted)
    secret(encrypted, run_id="s")
    encrypted.create_run("t", request={"set_cookies": "a=other"})
    claim = encrypted.claim_part()
    found, cursor = set(), START
    while True:
        cursor, conflicting = encrypted.run(ScanConflictingParts(claim, digest_claim(claim), cursor))
        found.add(conflicting)
        if cursor == START:
            break
    assert found == {"t:0"}


def test_a_waiter_who_comes_later_is_encrypted_too(encrypted):
    secret(encrypted)
    encrypted.run(AcceptRun("r", "later", '{"a": 1}'))
    assert encrypted.redis.hget(encrypted.keys.run("r"), "waiter:later")[:1] == ENCRYPTED_PREFIX
    assert encrypted.read_run().waiters["later"] == '{"a": 1}'


def test_worker_with_a_missing_key_warns_at_start(encrypted, monkeypatch, caplog):
    secret(encrypted)
    encrypted.use(NEW)
    monkeypatch.setattr(lifecycle, "refuse_unfit_server", lambda _: None)
    assert lifecycle._why_not_ours(encrypted.app_context) is None
    assert "runs of the store are encrypted with key" in caplog.text


PLAIN_ERROR = '{"type": "JobLostError", "args": ["forged", "r"]}'


@pytest.mark.parametrize(("step", "state"), [(submit_part, PartState.QUEUED), (reconcile_part, PartState.SUBMITTING)])
def test_part_with_a_forged_request_waits_ever_longer(encrypted, step, state, make, caplog):
    secret(encrypted)
    encrypted.api.script(list_jobs=JobsListResponse(jobs=[make.job(job_id="j")], total_pages=1), get_job=make.job())
    if state is PartState.SUBMITTING:
        encrypted.set_fields(state=state, intent="1", account=encrypted.settings.account_id)
    right = encrypted.redis.hget(encrypted.keys.run("r"), "spec")
    encrypted.redis.hset(encrypted.keys.run("r"), "spec", pack({"request": {}}))
    waits = []
    for _ in range(encrypted.settings.poison_after + 7):
        publish(encrypted, step, state)
        part = encrypted.part()
        assert (part.state, part.outcome, part.attempts) == (state, None, 0)
        waits.append(round(part.due_at - encrypted.run(ReadClock())))
        encrypted.clock.forward(waits[-1] + 1)
    assert waits[:3] == [30, 60, 90]
    assert waits[-1] == 300
    assert encrypted.api.posts == 0
    encrypted.note_worker()
    status = RunHandle("r", app_context=encrypted.app_context).status
    assert "run r: the field spec is not encrypted" in status.waiting_for.text
    assert "run r: the field spec is not encrypted" in caplog.text
    encrypted.redis.hset(encrypted.keys.run("r"), "spec", right)
    assert encrypted.claim_part().spec().request.set_cookies == f"a={COOKIE}"


def test_part_with_forged_targets_is_not_poisoned_by_a_refused_token(encrypted, make):
    secret(encrypted)
    right = encrypted.redis.hget(encrypted.keys.run("r"), "targets:0")
    encrypted.redis.hset(encrypted.keys.run("r"), "targets:0", pack(["https://forged.example/"]))
    encrypted.run(OpenBreaker(encrypted.settings.account_id))
    encrypted.clock.forward(encrypted.settings.auth_grace + 1)
    encrypted.api.script(get_user_info=make.refusal(401))
    for _ in range(encrypted.settings.poison_after + 2):
        publish(encrypted, submit_part, PartState.QUEUED)
        part = encrypted.part()
        assert (part.state, part.outcome, part.attempts) == (PartState.QUEUED, None, 0)
        encrypted.clock.forward(301)
    encrypted.redis.hset(encrypted.keys.run("r"), "targets:0", right)
    publish(encrypted, submit_part, PartState.QUEUED)
    assert encrypted.part().outcome == "failed"


def test_error_of_a_poisoned_part_is_encrypted(encrypted):
    secret(encrypted)
    encrypted.set_fields(attempts=9)
    assert isinstance(encrypted.try_claim_part(poison=PoisonPolicy(3, skip_unsent=True)), PoisonedPart)
    assert encrypted.redis.hget(encrypted.keys.part(PartId("r", 0)), "error")[:1] == ENCRYPTED_PREFIX
    assert isinstance(encrypted.part().error, PoisonedRunError)


def test_a_run_with_a_forged_job_or_error_is_not_decided(ended, caplog):
    job_key, part_key = ended.keys.job(PartId("r", 0)), ended.keys.part(PartId("r", 0))
    job = ended.redis.get(job_key)
    ended.redis.set(job_key, pack({"JobID": "forged"}))
    for _ in range(20):
        assert ended.run_step(lambda context, _: decide_run(_named(context), "r"), None) is None
    assert ended.run_fields()["deciding"] == "0"
    assert "run r, part 0: the field job is not encrypted" in caplog.text
    ended.redis.set(job_key, job)
    ended.redis.hset(part_key, "error", PLAIN_ERROR)
    assert ended.run_step(lambda context, _: decide_run(_named(context), "r"), None) is None
    ended.redis.hdel(part_key, "error")
    ended.redis.hset(ended.keys.run("r"), "error", PLAIN_ERROR)
    record = decide(ended)
    assert (record.outcome, record.error, record.unreadable) == ("succeeded", None, None), "a forged error is dropped"


def test_an_attempt_of_a_freed_run_brings_no_key_back(encrypted):
    assert encrypted.run(CountDecisionAttempt("gone", -1)) == 0
    assert list(encrypted.redis.scan_iter("*gone*")) == []


@pytest.mark.parametrize("field", ["waiter:r", "result", "error"])
def test_a_forged_delivery_is_neither_sent_nor_counted(ended, field, caplog):
    decide(ended)
    ended.step_messages()
    right = ended.redis.hget(ended.keys.run("r"), field)
    ended.redis.hset(ended.keys.run("r"), field, PLAIN_ERROR if field == "error" else '{"task": "forged"}')
    deliver_run(ended.app_context, "r")
    assert ended.sent == []
    assert f"run r cannot be delivered here: run r: the field {field} is not encrypted" in caplog.text
    step = ended.app.tasks[deliver_outcome.name]
    step.push_request(id="r", args=["r"])
    with pytest.raises(Ignore):
        step.run("r")
    step.pop_request()
    status = RunStatus.from_record(ended.read_run())
    assert (status.state, ended.run_fields()["waiting"]) == ("succeeded", "1")
    assert f"the field {field} is not encrypted" in status.waiting_for.text
    if right is None:
        ended.redis.hdel(ended.keys.run("r"), field)
    else:
        ended.redis.hset(ended.keys.run("r"), field, right)
    assert ended.read_run().unreadable is None


@pytest.mark.parametrize("forged", ["spec", "job", "part error", "waiter:r"])
def test_a_live_run_with_a_forged_value_can_be_freed(encrypted, forged, make):
    secret(encrypted, signature='{"private": true}')
    encrypted.make_running()
    encrypted.run(UpdatePart(encrypted.claim_part(), {}, after=0.0, job=make.job()))
    handle = RunHandle("r", app_context=encrypted.app_context)
    handle.cancel()
    encrypted.clock.forward(encrypted.settings.cancel_grace + 1)
    with pytest.raises(RunError, match="has not ended"):
        handle.forget()
    if forged == "job":
        encrypted.redis.set(encrypted.keys.job(PartId("r", 0)), pack({"JobID": "forged"}))
    elif forged == "part error":
        encrypted.redis.hset(encrypted.keys.part(PartId("r", 0)), "error", PLAIN_ERROR)
    else:
        encrypted.redis.hset(encrypted.keys.run("r"), forged, pack({"request": {}}))
    handle.forget()
    assert encrypted.run_ids() == set()
    with pytest.raises(RunNotFoundError):
        handle.state  # noqa: B018 (the property reads the store)


def check_plain(encrypted):
    return list(check_plain_values(encrypted.app_context.store, encrypted.settings))


def test_doctor_finds_plain_values_until_they_are_gone(encrypted):
    encrypted.use(None)
    secret(encrypted)
    assert check_plain(encrypted) == []
    encrypted.use(OLD)
    secret(encrypted, run_id="other")
    (found,) = check_plain(encrypted)
    assert found.level == WRONG
    assert "1 run(s) have plain values, such as run r, although" in found.text
    encrypted.use(OLD, allow_plain=True)
    flag, live = check_plain(encrypted)
    assert [one.level for one in (flag, live)] == [WARNING, WARNING]
    assert "can forge requests" in flag.text
    assert "1 of them are live, so keep SCRAPE_DO_ALLOW_PLAIN" in live.text

    encrypted.make_running()
    encrypted.finish_part()
    decide(encrypted)
    encrypted.run(AcknowledgeDelivery("r", "r", encrypted.app_context.retention))
    _, ended = check_plain(encrypted)
    assert f"the last one is deleted within {encrypted.settings.record_ttl / 3600:.1f} h" in ended.text
    encrypted.run(ForgetRun("r"))
    _, over = check_plain(encrypted)
    assert "no run has plain values any more: remove SCRAPE_DO_ALLOW_PLAIN" in over.text
    encrypted.redis.hset(encrypted.keys.run("other"), "waiter:other", '{"task": "plain"}')
    _, waiter = check_plain(encrypted)
    assert "such as run other" in waiter.text


def test_search_for_plain_values_has_a_bound(encrypted, monkeypatch):
    encrypted.use(OLD, allow_plain=True)
    for number in range(30):
        secret(encrypted, run_id=f"r{number}")
    monkeypatch.setattr("scrape_do_celery.store.plain_values._KEYS_AT_ONCE", 5)
    monkeypatch.setattr("scrape_do_celery.server_checks._SEARCHED_KEYS", 10)
    _, found = check_plain(encrypted)
    assert "no plain values are among the first 10 keys" in found.text
    for number in range(30):
        encrypted.redis.hdel(encrypted.keys.run(f"r{number}"), "options_digest")
    monkeypatch.setattr("scrape_do_celery.server_checks._SEARCHED_KEYS", 60)
    _, found = check_plain(encrypted)
    assert found.text.startswith("at least ")
    monkeypatch.undo()
    assert check_plain(encrypted)[1].text.startswith("30 run(s) have plain values")


def test_flag_without_a_key_and_missing_rights_are_found(encrypted, monkeypatch):
    flagged = encrypted.settings.model_copy(update={"encryption_key": None, "allow_plain": True})
    (found,) = check_plain_values(encrypted.app_context.store, flagged)
    assert "SCRAPE_DO_ALLOW_PLAIN has no effect without SCRAPE_DO_ENCRYPTION_KEY" in found.text

    def refuse(*_, **__):
        raise NoPermissionError("no scan")

    with monkeypatch.context() as patch:
        patch.setattr(encrypted.app_context.store.client, "scan", refuse)
        (found,) = check_plain(encrypted)
    assert "plain values cannot be found: allow the store's user +scan" in found.text


def test_a_run_of_another_key_or_without_a_record_is_not_refused(encrypted):
    secret(encrypted)
    assert not has_refused_values(encrypted.app_context.store, "r")
    assert not has_refused_values(encrypted.app_context.store, "gone")
    encrypted.use(NEW)
    assert not has_refused_values(encrypted.app_context.store, "r")
