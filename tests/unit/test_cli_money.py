"""Test `scrape-do orphans` and `scrape-do ledger` with an in-memory store and a sandbox on a thread."""

from __future__ import annotations

import json
import re
import time
from itertools import pairwise

import pytest
from click.testing import CliRunner

from scrape_do_celery import JobCreationRequest, ScrapeDoAsyncAPIClient, Settings
from scrape_do_celery.cli import main
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.runs import AppContext
from scrape_do_celery.steps.orphans import OrphanFinder, StillOwnedError
from scrape_do_celery.store import PartId, RunSpec
from scrape_do_celery.store.commands.arguments import START
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.dispatch import ClaimNamespace
from scrape_do_celery.store.commands.ownership import ScanUnresolvedParts
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.stats import ReadAccounts
from scrape_do_sandbox import SandboxThread
from tests.support.json_shapes import check_json

LONG = "?seconds=600"
DAY = 86_400


@pytest.fixture(scope="module")
def thread():
    with SandboxThread(task_seconds=0.05) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(thread):
    thread.reset()
    return thread


@pytest.fixture
def settings(clean_environment, sandbox):
    return Settings(
        api_key="any",
        api_url=sandbox.url,
        redis_url="redis://:hidden@store.invalid/0",
        broker_url="memory://",
        result_backend="cache+memory://",
        key_prefix="p",
    )


@pytest.fixture
def scrape_do(step_harness, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)
    # The account has bought with this store before.
    store = step_harness.app_context.store
    store.client.sadd(store.keys.accounts, step_harness.account)

    def call(*arguments):
        answer = CliRunner().invoke(main, [str(a) for a in arguments])
        check_json(arguments, answer)
        return answer

    return call


@pytest.fixture
def client(settings):
    with ScrapeDoAsyncAPIClient(settings.api_key, base_url=settings.api_url, max_retries=0) as one:
        yield one


def urls(count, query=LONG, host="a"):
    return [f"https://{host}.example/{n}{query}" for n in range(count)]


@pytest.fixture
def buy(client):
    """Return a function that buys a job without a run, and returns its id."""

    def bought(targets, **options):
        return client.create_job(targets=targets, **options).job_id

    return bought


def intend(step_harness, run_id, state="submitting", *, account=None, estimated_credits=2):
    """Return the claim of a part whose `POST` is under way or in doubt."""
    claim = step_harness.claim_part(run_id)
    account = step_harness.account if account is None else account
    verdict, _ = step_harness.run(
        WriteIntent(claim, "n", 30.0, account=account, groups=[PriceGroup.unknown(estimated_credits)])
    )
    assert verdict == "ok"
    if state != "submitting":
        step_harness.update_part(claim, to=state)
    return claim


def found(answer, code=0):
    assert answer.exit_code == code, answer.output
    return json.loads(answer.stdout)


def rows(answer):
    """Return the lines of the printed table as cells."""
    lines = answer.stdout.splitlines()
    rule = next(n for n, line in enumerate(lines) if set(line) == {"-", " "})
    ends = [sum(len(dashes) + 2 for dashes in lines[rule].split()[:n]) for n in range(len(lines[rule].split()) + 1)]
    table = lines[rule + 1 :]
    table = table[: table.index("")] if "" in table else table
    return [tuple(line[a:b].strip() for a, b in pairwise(ends)) for line in table]


# orphans


def test_an_account_without_orphans(scrape_do, buy, client, eventually):
    job_id = buy(["https://a.example/"])
    eventually(lambda: client.get_job(job_id).is_terminal)
    answer = scrape_do("orphans")
    assert (answer.exit_code, answer.output) == (0, "no orphans: each running job belongs to a run\n")
    assert found(scrape_do("orphans", "--json", "--cancel", "--yes")) == {"orphans": [], "others": []}


def test_store_that_never_bought_for_the_account_stops_only_named_jobs(scrape_do, step_harness, buy, client):
    store = step_harness.app_context.store
    store.client.delete(store.keys.accounts)
    first, second = buy(urls(1)), buy(urls(1, host="b"))
    answer = scrape_do("orphans", "--cancel", "--yes")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "never bought for this account" in answer.stderr
    assert "hidden" not in answer.stderr
    assert not client.get_job(first).canceled
    assert scrape_do("orphans").exit_code == 0
    assert scrape_do("orphans", "--cancel", "--yes", second).exit_code == 0
    assert client.get_job(second).canceled


def test_intent_makes_the_account_known(step_harness):
    step_harness.create_run("r")
    intend(step_harness, "r")
    assert step_harness.run(ReadAccounts()) == [step_harness.account]


def test_store_of_another_application_stops_only_named_jobs(scrape_do, step_harness, buy, client):
    job_id = buy(urls(1))
    mine = step_harness.app_context.application
    step_harness.run(ClaimNamespace(mine))
    assert scrape_do("orphans", "--cancel", "--yes", "--json", job_id).exit_code == 0
    assert client.get_job(job_id).canceled
    other = buy(urls(1, host="b"))
    store = step_harness.app_context.store
    store.client.delete(store.keys.namespace_owner)
    step_harness.run(ClaimNamespace("amqp://elsewhere"))
    answer = scrape_do("orphans", "--cancel", "--yes")
    assert (answer.exit_code, "another application" in answer.stderr) == (1, True)
    assert not client.get_job(other).canceled
    assert scrape_do("orphans", "--cancel", "--yes", other).exit_code == 0


def test_orphan_is_listed_with_its_figures(scrape_do, buy, client, eventually):
    job_id = buy([*urls(2), "https://a.example/"], super=True)
    waiting = buy(urls(3, host="b"))
    eventually(lambda: client.get_job(job_id).tasks[2].status == "success")
    started = client.get_job(job_id).start_time
    answer = scrape_do("orphans")
    assert answer.exit_code == 0
    assert {row[0]: row[1:] for row in rows(answer)} == {
        job_id: ("pending", f"{started:%Y-%m-%dT%H:%M:%SZ}", "-", "3", "1", "30"),
        waiting: (client.get_job(waiting).status, "-", "-", "3", "0", "3 to 75"),
    }
    listed = found(scrape_do("orphans", "--json"))["orphans"]
    assert [one["job_id"] for one in listed] == [job_id, waiting]
    assert listed[1] == {
        "job_id": waiting,
        "status": client.get_job(waiting).status,
        "start_time": None,
        "tasks": 3,
        "done": 0,
        "credits": [3, 75],
        "may_belong_to": None,
        "previous_owner": None,
        "searched_by": [],
        "end": None,
    }


@pytest.mark.parametrize("gone", [404, 410])
def test_a_page_that_is_gone_tells_no_cost(scrape_do, buy, client, eventually, gone):
    job_id = buy([*urls(1), f"https://a.example/?gone={gone}"])
    eventually(lambda: client.get_job(job_id).tasks[1].status == "success")
    assert rows(scrape_do("orphans"))[0][-2:] == ("1", "2 to 50")


def test_all_pages_of_every_status_are_walked(scrape_do, buy, client, eventually):
    pending = [buy([*urls(1), "https://a.example/"]) for _ in range(3)]
    queued = [buy(urls(1)) for _ in range(103)]
    eventually(lambda: {client.get_job(one[-1]).status for one in (pending, queued)} == {"pending", "queued"})
    listed = found(scrape_do("orphans", "--json"))["orphans"]
    assert {one["job_id"]: one["status"] for one in listed} == {
        **dict.fromkeys(pending, "pending"),
        **dict.fromkeys(queued, "queued"),
    }


def test_a_job_that_a_run_owns_is_none(scrape_do, step_harness, buy):
    step_harness.create_run("mine", each=urls(1))
    owned = step_harness.make_running("mine", job=buy(urls(1)))
    stray = buy(urls(1))
    assert [one["job_id"] for one in found(scrape_do("orphans", "--json"))["orphans"]] == [stray]
    answer = scrape_do("orphans", "--cancel", "--yes", owned)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr == f"{owned}: the job belongs to run mine\n"


def test_progress_of_the_list_and_of_the_stops_is_shown(scrape_do, buy, recorded_view):
    jobs = [buy(urls(1)), buy(urls(1, host="b"))]
    assert scrape_do("orphans").exit_code == 0
    assert recorded_view.shown == [("read jobs", 0, 2), ("read jobs", 1, 2)]
    recorded_view.shown.clear()
    assert scrape_do("orphans", "--cancel", "--yes", *jobs).exit_code == 0
    assert recorded_view.shown == [("stop jobs", 0, 2), ("stop jobs", 1, 2)]


def test_only_the_orphans_are_stopped(scrape_do, step_harness, buy, sandbox):
    step_harness.create_run("mine", each=urls(1))
    step_harness.make_running("mine", job=buy(urls(1)))
    stray = buy(urls(2))
    # Another application may have bought the job, so it must be named.
    answer = scrape_do("orphans", "--cancel", "--yes")
    assert answer.exit_code == 1
    assert answer.stderr.startswith(f"not stopped  {stray}: no run of this store has bought the job")
    assert [job["canceled"] for job in sandbox.jobs()] == [False, False]
    answer = scrape_do("orphans", "--cancel", "--yes", stray)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.endswith(f"\nstopped  {stray}\n")
    assert [job["canceled"] for job in sandbox.jobs()] == [False, True]


def test_only_those_named_are_stopped(scrape_do, buy, sandbox):
    first, second, third = buy(urls(1)), buy(urls(1)), buy(urls(1))
    answer = found(scrape_do("orphans", "--cancel", "--yes", "--json", third, first, third))
    assert {one["job_id"]: one["end"] for one in answer["orphans"]} == {first: "stopped", third: "stopped"}
    assert {job["id"]: job["canceled"] for job in sandbox.jobs()} == {first: True, second: False, third: True}


def test_a_job_that_is_being_canceled_says_so(scrape_do, buy, client, sandbox):
    sandbox.configure(cancel_seconds=60)
    job_id = buy(urls(1))
    client.cancel_job(job_id)
    assert rows(scrape_do("orphans"))[0][3] == "is being canceled"


def test_a_job_that_ended_meanwhile(scrape_do, buy, client, sandbox, eventually):
    job_id = buy(urls(1))
    sandbox.fault("status", kind="cancel_job", status=406)
    answer = scrape_do("orphans", "--cancel", "--yes", job_id)
    assert (answer.exit_code, answer.stdout.splitlines()[-1]) == (0, f"already ended  {job_id}")
    sandbox.clear_faults()
    client.cancel_job(job_id)
    eventually(lambda: client.get_job(job_id).is_terminal)
    answer = scrape_do("orphans", "--cancel", "--yes", job_id)
    assert (answer.exit_code, answer.output) == (0, f"{job_id}: the job has ended: canceled\n")


def test_job_that_cannot_be_canceled_does_not_keep_others(scrape_do, buy, sandbox):
    bad, good = buy(urls(1)), buy(urls(1))
    sandbox.fault("status", kind="cancel_job", job_id=bad, status=400)
    answer = scrape_do("orphans", "--cancel", "--yes", bad, good)
    assert answer.exit_code == 1
    assert answer.stdout.splitlines()[-1] == f"stopped  {good}"
    assert answer.stderr.startswith(f"not stopped  {bad}: ")
    assert {job["id"]: job["canceled"] for job in sandbox.jobs()} == {bad: False, good: True}


@pytest.mark.parametrize("job_id", ["nonsense", "00000000-0000-4000-8000-000000000000"])
def test_a_job_that_the_api_does_not_know(scrape_do, job_id):
    answer = scrape_do("orphans", job_id)
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert answer.stderr.startswith(f"{job_id}: the API does not know the job")
    assert found(scrape_do("orphans", "--cancel", "--yes", "--json", job_id), 1)["others"][0]["job_id"] == job_id


# jobs that may belong to a run


def claimant(answer):
    [one] = found(answer)["orphans"]
    return one["may_belong_to"]


@pytest.mark.parametrize("state", ["submitting", "reconciling"])
def test_the_job_of_an_unresolved_purchase_is_never_stopped(scrape_do, step_harness, buy, sandbox, state):
    step_harness.create_run("r", each=urls(2))
    intend(step_harness, "r", state)
    job_id = buy(urls(2)[::-1])
    assert rows(scrape_do("orphans"))[0][3] == "may belong to run r"
    assert scrape_do("orphans", "--cancel", "--yes").exit_code == 0
    answer = scrape_do("orphans", "--cancel", "--yes", job_id)
    assert answer.exit_code == 1
    assert answer.stderr == f"not stopped  {job_id}: the job may belong to run r, which searches for its job\n"
    assert not sandbox.jobs()[0]["canceled"]


def test_job_of_a_failed_search_is_canceled_only_by_name(scrape_do, step_harness, buy, sandbox):
    step_harness.create_run("r", each=urls(2))
    claim = intend(step_harness, "r", "reconciling")
    step_harness.run(FinishPart(claim, "in_doubt", purchase_status="in_doubt"))
    job_id = buy(urls(2))
    assert rows(scrape_do("orphans"))[0][3] == "run r searched for such a job and found none"
    [one] = found(scrape_do("orphans", "--json"))["orphans"]
    assert (one["may_belong_to"], one["searched_by"]) == (None, ["r"])
    assert scrape_do("orphans", "--cancel", "--yes").exit_code == 0
    assert not sandbox.jobs()[0]["canceled"]
    assert scrape_do("orphans", "--cancel", "--yes", job_id).exit_code == 0
    assert sandbox.jobs()[0]["canceled"]


def test_a_lock_counts_only_while_its_purchase_is_unresolved(scrape_do, step_harness, buy):
    step_harness.create_run("r", each=urls(2))
    claim = intend(step_harness, "r")
    step_harness.update_part(claim, to="running", job="another", purchase_status="confirmed")
    step_harness.redis.set(f"p:target_lock:{step_harness.account}:{step_harness.part_fields()['fingerprint']}", "r:0")
    buy(urls(2))
    assert claimant(scrape_do("orphans", "--json")) is None


def test_a_purchase_of_other_targets_does_not_count(scrape_do, step_harness, buy):
    step_harness.create_run("r", each=urls(2, host="b"))
    intend(step_harness, "r")
    buy(urls(2))
    assert claimant(scrape_do("orphans", "--json")) is None


def test_a_purchase_under_an_earlier_token_counts(scrape_do, step_harness, buy, sandbox):
    step_harness.create_run("r", each=urls(2))
    intend(step_harness, "r", "reconciling", account="of the token before")
    job_id = buy(urls(2))
    assert claimant(scrape_do("orphans", "--json")) == "r"
    assert scrape_do("orphans", "--cancel", "--yes", job_id).exit_code == 1
    assert not sandbox.jobs()[0]["canceled"]


def test_a_part_older_than_the_stores_present_life_counts(scrape_do, step_harness, buy):
    step_harness.create_run("r", each=urls(2))
    buy(urls(2))
    assert claimant(scrape_do("orphans", "--json")) is None
    step_harness.redis.set(step_harness.keys.epoch, "another 0.0 0 0")
    assert claimant(scrape_do("orphans", "--json")) == "r"


def test_plugin_purchase_may_own_any_job_of_its_size(scrape_do, step_harness, buy, sandbox):
    sandbox.configure(task_seconds=60)
    plugin = {"key": "google/search", "params": [{"q": "a"}, {"q": "b"}]}
    step_harness.run(CreateRun("r", RunSpec(JobCreationRequest(plugin=plugin))))
    intend(step_harness, "r")
    two, three = buy(None, plugin=plugin), buy(urls(3))
    listed = found(scrape_do("orphans", "--json"))["orphans"]
    assert {one["job_id"]: one["may_belong_to"] for one in listed} == {two: "r", three: None}


def test_a_job_that_cannot_be_read_is_not_stopped(scrape_do, buy, sandbox):
    job_id = buy(urls(1))
    sandbox.fault("nulls", kind="get_job", fields=["Tasks"])
    assert claimant(scrape_do("orphans", "--json")) is None
    answer = scrape_do("orphans", "--cancel", "--yes", job_id)
    assert answer.exit_code == 1
    assert "the targets of the job cannot be read yet" in answer.stderr
    assert not sandbox.jobs()[0]["canceled"]


def test_unreadable_job_may_be_any_of_its_size(scrape_do, step_harness, buy, sandbox):
    step_harness.create_run("r", each=urls(2, host="b"))
    intend(step_harness, "r")
    two, three = buy(urls(2)), buy(urls(3))
    sandbox.fault("status", kind="get_job", status=404)
    listed = found(scrape_do("orphans", "--json"))["orphans"]
    assert {one["job_id"]: (one["may_belong_to"], one["done"]) for one in listed} == {two: ("r", 0), three: (None, 0)}


@pytest.mark.parametrize("what", ["confirmed", "reconciling"])
def test_purchase_before_the_cancel_keeps_the_job(step_harness, buy, client, sandbox, what):
    here = OrphanFinder(client, step_harness.app_context.store, step_harness.account)
    job_id = buy(urls(2))
    [orphan] = here.find_all()
    step_harness.create_run("r", each=urls(2))
    if what == "confirmed":
        step_harness.make_running("r", job=job_id)
    else:
        intend(step_harness, "r", "reconciling")
    with pytest.raises(StillOwnedError, match="run r"):
        here.cancel_orphan(orphan)
    assert not sandbox.jobs()[0]["canceled"]


@pytest.mark.parametrize("account", [None, "of the token before"])
def test_purchase_resolved_during_the_search_makes_no_orphan(step_harness, buy, client, account):
    step_harness.create_run("r", each=urls(2))
    claim, job_id = intend(step_harness, "r", account=account), buy(urls(2))
    store, asked = step_harness.app_context.store, []

    class Meddled:
        """A store that resolves the purchase right before its command number `moment`."""

        keys = store.keys

        def __init__(self, moment):
            self.moment = moment

        def run(self, command):
            asked.append(command.script or command.args[0])
            if len(asked) == self.moment:
                step_harness.run(UpdatePart(claim, {"job": job_id}, to="running", owner=job_id))
            return store.run(command)

    for moment in range(1, 5):
        asked.clear()
        step_harness.redis.delete(step_harness.keys.owner(job_id))
        step_harness.set_fields(state="submitting")
        finder = OrphanFinder(client, Meddled(moment), step_harness.account)
        assert all(one.claimant for one in finder.find_all()), (moment, asked)
    assert asked == ["read_job_ownership", "scan_unresolved_parts", "read_job_ownership"]


def test_unresolved_parts_are_found_in_however_long_a_list(step_harness):
    step_harness.create_run("r")
    intend(step_harness, "r")
    step_harness.redis.zadd(step_harness.keys.due, {f"gone{n}:0": n for n in range(1500)} | {"gone:run": 1})
    cursor, found, looks = "", [], 0
    while cursor != START:
        cursor, some = step_harness.run(ScanUnresolvedParts(cursor or START))
        found, looks = found + some, looks + 1
    assert looks > 1
    assert [(one.part_id, one.targets) for one in found] == [(PartId("r", 0), 2)]


# errors before any request


def test_orphans_need_the_token(scrape_do, step_harness, sandbox):
    step_harness.app_context.settings = step_harness.settings.model_copy(update={"api_key": None})
    answer = scrape_do("orphans")
    assert answer.exit_code == 1
    assert "SCRAPE_DO_API_KEY is not set" in answer.stderr
    assert sandbox.log() == []


def test_nothing_is_stopped_unasked(scrape_do, buy, sandbox):
    buy(urls(1))
    answer = scrape_do("orphans", "--cancel")
    assert answer.exit_code == 2
    assert "needs --yes" in answer.stderr
    assert not sandbox.jobs()[0]["canceled"]


@pytest.mark.parametrize("arguments", [["--cancel", "--yes"], ["--cancel", "ID"]])
def test_on_a_shared_account_ids_and_yes_are_needed(scrape_do, step_harness, buy, sandbox, arguments):
    step_harness.app_context.settings = step_harness.settings.model_copy(update={"shared_account": True})
    job_id = buy(urls(1))
    answer = scrape_do("orphans", *(job_id if one == "ID" else one for one in arguments))
    assert answer.exit_code == 2
    assert "needs --yes and the ids" in answer.stderr
    assert not sandbox.jobs()[0]["canceled"]
    answer = scrape_do("orphans")
    assert (answer.exit_code, rows(answer)[0][0]) == (0, job_id)
    assert "the list includes the jobs of other buyers" in answer.stderr
    assert scrape_do("orphans", "--cancel", "--yes", job_id).exit_code == 0
    assert sandbox.jobs()[0]["canceled"]


def test_a_refused_token_is_one_readable_line(scrape_do, sandbox):
    sandbox.configure(token="another")
    answer = scrape_do("orphans")
    assert answer.exit_code == 1
    assert answer.stderr.startswith("Error: AsyncAPIAuthError: ")


# ledger


@pytest.fixture
def books(step_harness):
    """Write purchases of three runs: one paid, one in doubt for good, and one made again after an absence."""
    step_harness.create_run("paid", each=urls(2, ""))
    claim = intend(step_harness, "paid", estimated_credits=2)
    step_harness.update_part(claim, to="running", job="j1", purchase_status="confirmed")
    step_harness.update_part(claim, to="fetching")
    for n, cost in enumerate(["1", "2.5"]):
        step_harness.store_content("paid", position=n, scrape_do_metadata={"Request-Cost": cost})
    step_harness.run(FinishPart(claim, "succeeded"))
    step_harness.clock.forward(10)
    step_harness.create_run("never", each=urls(3, host="b"))
    step_harness.run(
        FinishPart(
            intend(step_harness, "never", estimated_credits=30),
            "in_doubt",
            purchase_status="in_doubt",
        )
    )
    step_harness.clock.forward(10)
    step_harness.create_run("twice", each=urls(1, host="c"))
    claim = intend(step_harness, "twice", estimated_credits=5)
    step_harness.update_part(claim, after=0.0, to="reconciling")
    step_harness.update_part(step_harness.claim_part("twice"), after=0.0, to="queued", purchase_status="not_found")
    step_harness.clock.forward(10)
    claim = intend(step_harness, "twice", estimated_credits=5)
    step_harness.update_part(claim, to="running", job="j3", purchase_status="adopted")
    return step_harness


def test_the_ledger_is_in_order_of_time_with_sums(scrape_do, books):
    answer = scrape_do("ledger")
    assert answer.exit_code == 0
    assert [row[1:] for row in rows(answer)] == [
        ("paid", "-", "a.example", "j1", "confirmed", "succeeded", "0", "1", "2", "3.5", "2"),
        ("never", "-", "b.example", "-", "in_doubt", "in_doubt", "0", "1", "3", "-", "30"),
        ("twice", "-", "c.example", "-", "not_found", "-", "0", "1", "1", "-", "5"),
        ("twice", "-", "c.example", "j3", "adopted", "-", "0", "2", "1", "-", "5"),
    ]
    assert answer.stdout.splitlines()[-3:] == [
        "purchases  4, of which 2 unresolved",
        "targets    7",
        "credits    3.5 reported, 2 estimated, for 1 ended purchase(s)",
    ]


def test_times_are_utc(scrape_do, step_harness, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        step_harness.create_run("r")
        intend(step_harness, "r")
        at = float(step_harness.part_fields()["intent"])
        told = rows(scrape_do("ledger"))[0][0]
        assert told == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        assert found(scrape_do("ledger", "--json"))["purchases"][0]["time"] == told
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_ledger_as_json(scrape_do, books):
    told = found(scrape_do("ledger", "--json"))
    assert [one.pop("time") for one in told["purchases"]] == sorted(row[0] for row in rows(scrape_do("ledger")))
    assert told["purchases"][0] == {
        "run_id": "paid",
        "label": None,
        "hosts": "a.example",
        "part": 0,
        "sequence": 1,
        "targets": 2,
        "job_id": "j1",
        "status": "confirmed",
        "outcome": "succeeded",
        "credits": 3.5,
        "estimated_credits": 2,
    }
    assert told["purchases"][1]["credits"] is None
    assert told["sums"] == {
        "purchases": 4,
        "unresolved": 2,
        "targets": 7,
        "known": 1,
        "credits": 3.5,
        "estimated_credits": 2,
    }


def test_one_run_of_the_ledger(scrape_do, books):
    told = found(scrape_do("ledger", "twice", "--json"))
    assert [(one["run_id"], one["sequence"]) for one in told["purchases"]] == [("twice", 1), ("twice", 2)]
    assert told["sums"]["targets"] == 2
    where = r"\(store at .*, prefix p\)\n"
    assert re.fullmatch(rf"no purchase of run nope in the last 91 days {where}", scrape_do("ledger", "nope").output)


def test_only_what_is_unresolved(scrape_do, books):
    books.create_run("now", each=urls(1, host="d"))
    intend(books, "now")
    told = found(scrape_do("ledger", "--unresolved", "--json"))
    assert [one["status"] for one in told["purchases"]] == ["in_doubt", "not_found", "open"]
    assert told["sums"]["unresolved"] == told["sums"]["purchases"] == 3
    answer = scrape_do("ledger", "--unresolved", "paid")
    assert answer.output.startswith("no unresolved purchase of run paid in the last 91 days (store at ")


def test_how_far_the_ledger_looks_back(scrape_do, step_harness):
    step_harness.create_run("old")
    intend(step_harness, "old")
    step_harness.clock.forward(6 * DAY)
    assert len(rows(scrape_do("ledger"))) == 1
    step_harness.clock.forward(DAY)
    answer = scrape_do("ledger")
    assert (answer.exit_code, answer.output) == (0, "no purchase in the last 7 days\n")
    assert scrape_do("ledger", "--days", 1).output == "no purchase in the last day\n"
    assert len(rows(scrape_do("ledger", "--days", 8))) == 1
    assert len(rows(scrape_do("ledger", "old"))) == 1
    assert found(scrape_do("ledger", "old", "--days", 7, "--json"))["purchases"] == []
    assert scrape_do("ledger", "--days", 92).exit_code == scrape_do("ledger", "--days", 0).exit_code == 2


def test_the_account(scrape_do, settings, sandbox, step_harness):
    sandbox.configure(credits=1234, concurrency=9)
    told = found(scrape_do("account", "--json"))
    assert told == {
        "account": settings.account_id,
        "credits": 1234,
        "concurrency": 9,
        "free_concurrency": 9,
        "active_jobs": 0,
    }
    shown = scrape_do("account").output
    assert "credits left  1,234\n" in shown
    assert "concurrency   9 of 9 free\n" in shown
    step_harness.app_context.settings = settings.model_copy(update={"api_key": None})
    answer = scrape_do("account")
    assert (answer.exit_code, "SCRAPE_DO_API_KEY is not set" in answer.output) == (1, True)
