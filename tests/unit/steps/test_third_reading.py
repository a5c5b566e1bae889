"""What a hostile reading of the looks by list, the budget, the line and the slices has found, and shown to be wrong."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.exceptions import RedisError

from scrape_do_celery.errors import IdempotencyConflictError
from scrape_do_celery.models import JobsListResponse
from scrape_do_celery.runs import AppContext, enqueue_many
from scrape_do_celery.runtime import collecting, runner
from scrape_do_celery.runtime.collecting import fetch
from scrape_do_celery.runtime.rate_limiter import RateLimiter
from scrape_do_celery.store import CANCEL, Claim, PartState, ops
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.command import Command
from scrape_do_celery.tasks.cancel import cancel
from scrape_do_celery.tasks.poll import poll
from scrape_do_celery.tasks.reconcile import reconcile
from scrape_do_celery.tasks.submit import submit
from scrape_do_celery.tasks.sweep import sweep

LEASE = 200.0
NOTHING = JobsListResponse.model_validate({"Jobs": [], "TotalPages": 1})


def bought(step_harness, names, account=None):
    for name in names:
        step_harness.create_run(name)
        claim = step_harness.claim_part(name)
        step_harness.run(
            ops.write_intent(step_harness.keys, claim, name, 100.0, account=account or step_harness.account)
        )
        fields = {"state": "running", "job": f"job-{name}", "tasks": pack(["t0", "t1"]), "purchase_status": "confirmed"}
        assert (
            step_harness.run(ops.update_part(step_harness.keys, claim, fields, after=1.0, owner=f"job-{name}")) == "ok"
        )


@pytest.fixture
def crowd(step_harness):
    """So many running jobs that they are looked at by the list."""
    bought(step_harness, [f"r{n}" for n in range(40)])
    step_harness.clock.forward(5)
    return step_harness


def look(step_harness):
    return step_harness.run(ops.plan_polling(step_harness.keys, step_harness.account, 30.0, 900.0))


def swept(step_harness):
    async def go(context, _):
        await sweep(context)

    step_harness.run_step(go, None)


def tick(step_harness, seconds):
    """The runs that are to be looked at after a dispatcher's look, and those of the sweep that it publishes."""
    step_harness.clock.forward(seconds)
    if look(step_harness).use_list:
        swept(step_harness)
    handed = {part.part_id.run_id for part in step_harness.claim_due().parts}
    return handed | {name.partition(":")[0] for _, names in step_harness.step_messages() for name in names}


def limited(step_harness, make, names):
    step_harness.settings = step_harness.settings.model_copy(update={"max_active_jobs": 1})
    for name in names:
        step_harness.create_run(name, each=[f"https://shop.example/{name}"])
    step_harness.api.script(create_job=lambda request: make.created(f"job-{request.targets[0][-1]}", 1))
    step_harness.clock.forward(10)


# Looks by the list


def test_a_cancel_that_failed_is_made_again_however_many_jobs_run(crowd, make):
    everything = [make.job(job_id=f"job-r{n}").to_wire() for n in range(40)]

    def page(filters):
        shown = everything if (filters["status"], filters["page"]) == ("pending", 1) else []
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 1})

    crowd.run(ops.request_stop(crowd.keys, "r7", CANCEL))
    crowd.api.script(get_job=make.job(job_id="job-r7"), cancel_job=make.refusal(500), list_jobs=page)
    crowd.run_step(cancel, crowd.claim_part("r7"))
    assert "r7" in tick(crowd, 10)


def test_a_canceled_run_of_another_account_ends(step_harness):
    bought(step_harness, ["r"], account="another")
    step_harness.clock.forward(2)
    step_harness.run(ops.request_stop(step_harness.keys, "r", CANCEL))

    async def handled(context, claim):
        return await runner._run_claimed(poll, context, claim)

    for _ in range(20):
        step_harness.clock.forward(20)
        if "r" in {part.part_id.run_id for part in step_harness.claim_due().parts} and isinstance(
            claim := step_harness.try_claim_part("r"), Claim
        ):
            step_harness.run_step(handled, claim)
    assert step_harness.part("r").state is PartState.DONE


def test_runs_of_an_account_without_a_worker_are_named(step_harness):
    bought(step_harness, ["r"], account="another")
    assert step_harness.run(ops.find_unattended_accounts(step_harness.keys, step_harness.account, 60)) == []
    step_harness.clock.forward(70)
    assert step_harness.run(ops.find_unattended_accounts(step_harness.keys, step_harness.account, 60)) == ["another"]
    assert step_harness.run(ops.find_unattended_accounts(step_harness.keys, "another", 60)) == []


def test_a_list_that_fails_for_long_keeps_no_end_from_being_seen(crowd, make):
    crowd.api.script(list_jobs=make.refusal(500))
    assert len(tick(crowd, 60)) == 40


def test_a_refused_token_hands_nothing_over(crowd, make):
    crowd.api.script(list_jobs=make.refusal(401))
    assert tick(crowd, 30) == set()


def test_a_part_whose_record_is_gone_is_looked_at_no_more(step_harness):
    bought(step_harness, ["r"])
    step_harness.redis.delete(step_harness.keys.part("r", 0))
    step_harness.clock.forward(5)
    look(step_harness)
    assert step_harness.due_times() == {}
    assert step_harness.part_fields("r") == {}


def test_pages_that_take_long_do_not_end_a_sweep(crowd):
    crowd.settings = crowd.settings.model_copy(update={"lease_seconds": 0.5})

    async def slowly(_):
        await asyncio.sleep(0.5)
        return NOTHING

    crowd.api.script(list_jobs=slowly)
    assert look(crowd).use_list
    swept(crowd)
    assert [len(names) for _, names in crowd.step_messages()] == [40], "it came to its end: nothing was shown"


def test_messages_that_pile_up_make_one_sweep(crowd):
    crowd.api.script(list_jobs=NOTHING)
    for _ in range(5):
        swept(crowd)
    assert len(crowd.api.called("list_jobs")) == 4, "one page a status"


def test_a_token_that_stays_refused_fails_all_runs_at_once(crowd):
    crowd.run(ops.open_breaker(crowd.keys, crowd.account))
    crowd.clock.forward(60)
    look(crowd)
    assert sum(at <= 0 for at in crowd.due_parts().values()) == 1
    crowd.clock.forward(900)
    look(crowd)
    assert sum(at <= 0 for at in crowd.due_parts().values()) == 40


# The line


def test_a_turn_that_comes_while_the_step_lets_go_is_not_forgotten(step_harness, make):
    limited(step_harness, make, "ab")
    step_harness.run_step(submit, step_harness.claim_part("a", seconds=LEASE))
    step_harness.clock.forward(10)
    claim = step_harness.claim_part("b", seconds=LEASE)

    async def with_an_end_in_between(context, claim):
        run = context.store.run

        async def watched(command):
            answer = await run(command)
            if command.script == "write_intent":
                step_harness.finish_part("a")
            return answer

        context.store.run = watched
        return await submit(context, claim)

    step_harness.run_step(with_an_end_in_between, claim)
    assert step_harness.due_parts()["b:0"] <= 0


def test_a_part_that_two_accounts_could_buy_holds_one_place(store):
    def intent(name, account):
        store.set_fields(name, due_at=0, lease=0)
        claim = store.claim_part(name, account=account)
        verdict, _ = store.run(ops.write_intent(store.keys, claim, name, 100.0, account=account, limit=1))
        if verdict == "ok":
            fields = {"state": "running", "purchase_status": "confirmed"}
            store.run(ops.update_part(store.keys, claim, fields, after=1.0, owner=f"job-{name}"))
        return verdict

    def end(name, account):
        store.set_fields(name, due_at=0, lease=0)
        store.run(ops.finish_part(store.keys, store.claim_part(name, account=account), "succeeded"))

    for name in "axbd":
        store.create_run(name, each=[f"https://shop.example/{name}"])
    assert [intent("a", "X"), intent("x", "Y"), intent("b", "X"), intent("b", "Y")] == [
        "ok",
        "ok",
        "no_slot",
        "no_slot",
    ]
    end("x", "Y")
    end("a", "X")
    assert intent("b", "Y") == "ok"
    end("b", "Y")
    assert intent("d", "Y") == "ok"


def test_who_leaves_the_line_leaves_nothing_behind(step_harness, make):
    limited(step_harness, make, "abc")
    for name in "abc":
        step_harness.clock.forward(10)
        step_harness.run_step(submit, step_harness.claim_part(name, seconds=LEASE))
    for name in "bc":
        step_harness.run(ops.request_stop(step_harness.keys, name, CANCEL))
    assert step_harness.redis.zcard(f"p:slot_waiters:{step_harness.account}") == 0
    step_harness.clock.forward(10)
    step_harness.finish_part("a")
    assert not list(step_harness.redis.scan_iter("p:target_lock:*"))


def test_looks_at_the_line_use_up_no_request(step_harness, make):
    limited(step_harness, make, "abcde")
    step_harness.run_step(submit, step_harness.claim_part("a", seconds=LEASE))
    step_harness.clock.forward(10)
    claims = [step_harness.claim_part(name, seconds=LEASE) for name in "bcde"]
    spent = []

    async def all_of_them(context, _):
        context.rate_limiter = RateLimiter(context.store, here=10, limit=10, rate=0.2)
        began = time.monotonic()
        await asyncio.gather(*(submit(context, claim) for claim in claims))
        spent.append(time.monotonic() - began)

    step_harness.run_step(all_of_them, claims[0])
    assert step_harness.api.posts == 1
    assert spent[0] < 4, "the second start would have come after five seconds"


# Slices, early pages, pauses


def test_a_turn_that_is_over_gives_no_page_up(step_harness, make, monkeypatch):
    monkeypatch.setattr(collecting, "_SLICE", 0.1)
    step_harness.create_run("r", 40)
    step_harness.make_running("r")
    step_harness.clock.forward(2)
    claim = step_harness.claim_part("r")
    step_harness.run(
        ops.update_part(step_harness.keys, claim, {"state": "fetching"}, after=0.0, job=make.job("success", count=40))
    )
    step_harness.run(ops.request_stop(step_harness.keys, "r", CANCEL))
    step_harness.claim_part("r", seconds=0.0)
    step_harness.clock.forward(2 * step_harness.settings.cancel_grace + 1)

    async def page(_, task_id):
        await asyncio.sleep(0.15)
        return make.task(int(task_id[1:]))

    step_harness.api.script(get_task=page)
    while step_harness.part("r").state is PartState.FETCHING:
        step_harness.run_step(fetch, step_harness.claim_part("r"))
    assert step_harness.part("r").stored_ok == 40


def test_a_429_to_an_early_fetch_is_obeyed_by_all(step_harness, make):
    step_harness.create_run("r", 60, early=True)
    step_harness.make_running("r")
    step_harness.clock.forward(2)
    step_harness.api.script(get_job=make.job("pending", tasks=["success"] * 60), get_task=make.refusal(429, 120.0))
    step_harness.run_step(poll, step_harness.claim_part("r"))
    assert step_harness.redis.get("p:pause")
    assert len(step_harness.api.called("get_task")) < 10


def test_a_refusal_of_an_early_fetch_holds_the_account_back(step_harness, make):
    step_harness.create_run("r", 60, early=True)
    step_harness.make_running("r")
    step_harness.clock.forward(2)
    step_harness.api.script(get_job=make.job("pending", tasks=["success"] * 60), get_task=make.refusal(401))
    step_harness.api.script(get_user_info=make.refusal(401))
    step_harness.run_step(poll, step_harness.claim_part("r"))
    assert step_harness.redis.exists(step_harness.keys.breaker(step_harness.account))
    assert len(step_harness.api.called("get_user_info")) == 1


def test_a_pause_keeps_no_canceled_part_in_doubt_from_its_search(step_harness, make):
    step_harness.create_run("r")
    claim = step_harness.claim_part("r", seconds=LEASE)
    step_harness.run(ops.write_intent(step_harness.keys, claim, "n", LEASE, account=step_harness.account))
    step_harness.update_part(claim, after=0.0, state="reconciling", submit_error="{}")
    step_harness.run(ops.request_stop(step_harness.keys, "r", CANCEL))
    step_harness.api.script(list_jobs=NOTHING)

    async def paused(context, claim):
        context.rate_limiter.pause(600.0)
        return await reconcile(context, claim)

    step_harness.run_step(paused, step_harness.claim_part("r"))
    assert step_harness.api.called("list_jobs")


def test_what_was_not_sent_makes_no_pause_longer(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.clock.forward(2)
    step_harness.run(ops.pause_api(step_harness.keys, 0.5))
    until = step_harness.redis.get("p:pause")

    async def paused(context, claim):
        context.rate_limiter.pause(600.0)
        return await poll(context, claim)

    step_harness.clock.forward(1)
    step_harness.run_step(paused, step_harness.claim_part())
    assert step_harness.redis.get("p:pause") in {None, until}


# Many runs, one trip


def test_a_key_of_another_request_starts_nothing(step_harness, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda **_: step_harness.app_context)
    step_harness.create_run("later", key="k", start_delay=3600.0)
    requests = [[f"https://shop.example/{n}"] for n in range(450)]
    with pytest.raises(IdempotencyConflictError):
        enqueue_many(requests, idempotency_keys=["k"] + [None] * 449)
    assert step_harness.read_run("later").accepted is None
    assert not any("later:0" in names for _, names in step_harness.step_messages())
    assert len(list(step_harness.redis.scan_iter("p:run:*"))) == 450, "all the others were written"


def test_one_that_cannot_be_sent_fails_alone(store):
    async def go(store):
        wrong = Command(lambda reply: reply, ("SET", "k", "\ud800"))
        operations = [ops.clock(), wrong, ops.clock()]
        return await asyncio.gather(*(store.run(command) for command in operations), return_exceptions=True)

    first, wrong, last = store.run_async(go)
    assert isinstance(first, float)
    assert isinstance(last, float)
    assert isinstance(wrong, UnicodeEncodeError)
    assert not isinstance(wrong, RedisError)


def test_an_error_that_nobody_foresaw_leaves_no_request_waiting(store):
    async def go(store):
        rate_limiter, run, errors = RateLimiter(store, here=10, limit=10), store.run, [ValueError("unforeseen")]

        async def once(command):
            if errors:
                raise errors.pop()
            return await run(command)

        store.run = once
        async with asyncio.timeout(10), rate_limiter.acquire():
            return "went"

    assert store.run_async(go) == "went"
