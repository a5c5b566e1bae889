from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from scrape_do_sandbox.faults import FaultRule
from scrape_do_sandbox.jobs import TERMINAL
from scrape_do_sandbox.listing import read_query
from scrape_do_sandbox.options import SandboxOptions
from scrape_do_sandbox.pages import Page
from scrape_do_sandbox.spec import ApiError, read_spec
from scrape_do_sandbox.state import SandboxState
from scrape_do_sandbox.timers import SandboxClock, format_time, parse_time
from scrape_do_sandbox.views import content_hash, job_body, task_body

START = datetime(2026, 11, 22, tzinfo=UTC).timestamp()


class World:
    def __init__(self, **options):
        self.options = SandboxOptions(**({"task_seconds": 10.0, "spread": 0.0} | options))
        self.clock = SandboxClock(lambda: START)
        self.state = SandboxState(self.options, self.clock)
        self.account = self.state.open_account("me")

    def create(self, *targets, **options):
        body = {"Targets": list(targets) or ["https://a.example/"], **options}
        return self.account.create_job(read_spec(json.dumps(body).encode()))

    def after(self, seconds):
        self.clock.offset = seconds
        return self.clock.now()

    def body(self, task):
        return task_body(task, self.clock.now(), self.account.ledger)


def refusal(call, *args):
    with pytest.raises(ApiError) as caught:
        call(*args)
    return caught.value.status


@pytest.fixture
def world():
    return World()


def test_a_job_walks_through_its_statuses_by_the_clock(world):
    job = world.create()
    seen = [job.status(world.after(second)) for second in (0, 1, 2, 5, 9.9, 10)]
    assert seen == ["queuing", "queued", "pending", "pending", "pending", "success"]
    assert job.tasks[0].status(world.clock.now()) == "success"


def test_some_tasks_rotate_on_their_way(world):
    job = world.create(*(f"https://a.example/{number}" for number in range(40)))
    seen = {task.status(world.after(7)) for task in job.tasks}
    assert seen == {"pending", "rotating"}
    single = next(url for task in job.tasks if task.rotates for url in [task.url] if _rotates_alone(url))
    assert world.create(single).status(world.after(14)) == "rotating"


def _rotates_alone(url):
    return World().create(url).tasks[0].rotates


def test_times_are_null_until_they_happened(world):
    job = world.create()
    early = job_body(job, world.after(0))
    assert (early["StartTime"], early["EndTime"], early["AcquiredConcurrency"]) == (None, None, 0)
    assert job_body(job, world.after(3))["AcquiredConcurrency"] == 1
    late = job_body(job, world.after(11))
    assert (late["StartTime"], late["EndTime"]) == ("2026-11-22T00:00:02.000Z", "2026-11-22T00:00:10.000Z")


def test_a_task_has_no_content_before_its_end(world):
    task = world.create().tasks[0]
    early = world.body(task)
    assert (early["Status"], early["Content"], early["StatusCode"], early["Scrape.do"]) == ("queuing", "", 0, {})
    assert content_hash(task, world.clock.now()) is None
    world.after(10)
    late = world.body(task)
    assert late["Status"] == "success"
    assert "<title>" in late["Content"]
    assert late["ExpiresAt"] == "2026-11-25T00:00:00.000Z"
    assert late["Scrape.do"] | {"Request-Id": ""} == {
        "Request-Cost": "1",
        "Remaining-Credits": "999999",
        "Request-Id": "",
    }


@pytest.mark.parametrize(
    ("targets", "strict", "status"),
    [
        (["https://a.example/", "https://b.example/?sandbox=error"], False, "success"),
        (["https://a.example/", "https://b.example/?sandbox=error"], True, "error"),
        (["https://a.example/?sandbox=error", "https://b.example/?sandbox=error"], False, "error"),
    ],
)
def test_the_job_status_follows_from_its_tasks(targets, strict, status):
    world = World(strict=strict)
    assert world.create(*targets).status(world.after(10)) == status


def test_a_failed_task_says_why_and_costs_nothing(world):
    task = world.create("https://a.example/?sandbox=error").tasks[0]
    world.after(10)
    body = world.body(task)
    assert (body["Status"], body["StatusCode"], body["Content"], body["Scrape.do"]["Request-Cost"]) == (
        "error",
        0,
        "",
        "0",
    )
    assert "asked to fail" in body["ErrorMessage"]
    assert world.account.show_figures()["AvaliableCredits"] == 1_000_000


def test_credits_are_charged_once_per_success_by_base_cost():
    world = World(credits=26)
    world.create("https://a.example/", "https://b.example/?status=503", Super=True, Render={})
    assert world.account.show_figures()["AvaliableCredits"] == 26
    world.after(10)
    assert world.account.show_figures()["AvaliableCredits"] == world.account.show_figures()["AvaliableCredits"] == 1
    world.create()
    world.after(20)
    assert world.account.show_figures()["AvaliableCredits"] == 0
    assert refusal(world.create) == 401


@pytest.mark.parametrize(
    ("url", "options", "cost"),
    [
        ("https://www.linkedin.com/in/a", {}, 30),
        ("https://notlinkedin.com/", {}, 1),
        ("https://linkedin.com.evil.org/", {}, 1),
        ("https://www.google.co.uk/", {}, 10),
        ("https://google.com/", {"Render": {}}, 25),
        ("https://a.example/?cost=7", {"Super": True}, 7),
        ("https://a.example/?cost=7&sandbox=error", {}, 0),
    ],
)
def test_domain_and_query_set_the_price_of_a_page(url, options, cost):
    world = World(credits=100)
    world.create(url, **options)
    world.after(10)
    assert world.account.show_figures()["AvaliableCredits"] == 100 - cost


def test_concurrency_makes_tasks_wait_for_a_slot():
    world = World(concurrency=1)
    first, second = world.create(), world.create()
    world.after(9)
    assert world.account.show_figures() == {
        "TotalConcurrency": 1,
        "FreeConcurrency": 0,
        "ActiveJobs": 2,
        "AvaliableCredits": 1_000_000,
    }
    assert (first.status(world.clock.now()), second.status(world.clock.now())) == ("pending", "queued")
    assert (first.status(world.after(17)), second.status(world.clock.now())) == ("success", "pending")
    world.after(18)
    assert second.status(world.clock.now()) == "success"


def test_cancel_takes_one_more_tick_and_frees_the_slot():
    world = World(concurrency=1, cancel_seconds=0.5)
    job = world.create("https://a.example/", "https://a.example/2")
    now = world.after(3)
    assert world.account.cancel_job(job.id) is job
    assert world.account.cancel_job(job.id) is job
    shown = job_body(job, now)
    assert (shown["Canceled"], shown["Status"]) == (True, "pending")
    shown = job_body(job, world.after(3.5))
    assert (shown["Status"], {task["Status"] for task in shown["Tasks"]}) == ("canceled", {"canceled"})
    assert [world.body(task)["StartTime"] is None for task in job.tasks] == [False, True]
    assert world.account.show_figures()["FreeConcurrency"] == 1
    assert refusal(world.account.cancel_job, job.id) == 406
    world.after(20)
    assert world.account.show_figures()["AvaliableCredits"] == 1_000_000


def test_task_ended_before_the_cancel_stays_ended(world):
    job = world.create("https://a.example/?seconds=1", "https://a.example/")
    world.after(2)
    world.account.cancel_job(job.id)
    now = world.after(3)
    assert [task.status(now) for task in job.tasks] == ["success", "canceled"]
    assert job.status(now) == "canceled"


def test_a_cancel_that_comes_too_late_changes_nothing():
    world = World(cancel_seconds=5)
    job = world.create()
    world.after(9)
    world.account.cancel_job(job.id)
    assert job.status(world.after(20)) == "success"


def test_a_job_expires_after_72_hours(world):
    job = world.create()
    world.after(72 * 3600 - 1)
    assert world.account.find_job(job.id) is job
    world.after(72 * 3600)
    assert refusal(world.account.find_job, job.id) == 404
    assert world.account.listing.find_page(read_query("")).total == 0


def test_ids_that_are_unknown_or_no_uuids(world):
    job = world.create()
    other = "00000000-0000-4000-8000-000000000000"
    assert refusal(world.account.find_job, other) == 404
    assert refusal(world.account.find_job, "nonsense") == 400
    assert refusal(world.account.find_task, job.id, other) == 404
    assert refusal(world.account.find_task, job.id, "nonsense") == 400
    assert world.account.find_task(job.id.upper(), job.tasks[0].id.upper()) is job.tasks[0]


def test_an_account_does_not_see_the_jobs_of_another(world):
    job = world.create()
    assert refusal(world.state.open_account("other").find_job, job.id) == 404
    assert world.state.find_job(job.id) is job
    assert world.state.find_job("x") is None
    assert list(world.state.list_jobs()) == [job]
    world.state.clear_accounts()
    assert world.state.find_job(job.id) is None


@pytest.mark.parametrize("code", [410, 404])
def test_content_that_is_gone(world, code):
    job = world.create(f"https://a.example/?gone={code}")
    assert world.account.find_task(job.id, job.tasks[0].id).status(world.clock.now()) not in TERMINAL
    world.after(10)
    assert refusal(world.account.find_task, job.id, job.tasks[0].id) == code


def test_a_real_fetch_ends_when_it_is_back(world):
    job = world.create("http://127.0.0.1:1/", "https://a.example/")
    first = job.tasks[0]
    assert job.status(world.after(50)) == "pending"
    first.finish_fetch(Page(200, {}, b"x"), world.after(60))
    assert (first.status(world.clock.now()), job.status(world.clock.now())) == ("success", "success")
    assert job.shown_end(world.clock.now()) == START + 60
    assert first.page().body == b"x"


def test_a_time_survives_its_text():
    assert format_time(START + 0.25) == "2026-11-22T00:00:00.250Z"
    assert parse_time("2026-11-22T00:00:00.250Z") == parse_time("2026-11-22T00:00:00.250") == START + 0.25


def test_options_change_together_or_not_at_all():
    options = SandboxOptions()
    with pytest.raises(ValueError, match="concurrency"):
        options.change_values({"strict": True, "concurrency": 0})
    assert options.strict is False
    options.change_values({"strict": True, "webhook_ladder": [1, 2]})
    assert (options.strict, options.webhook_ladder) == (True, (1.0, 2.0))


@pytest.mark.parametrize("seed", range(6))
def test_shuffled_job_has_another_task_order(world, seed):
    targets = [f"https://a.example/{place}" for place in range(3)]
    spec = read_spec(json.dumps({"Targets": targets}).encode())
    job = world.account.create_job(spec, [FaultRule(action="job_shuffles", seed=seed)])
    urls = [task.url for task in job.tasks]
    assert sorted(urls) == targets != urls
    assert job.spec.targets == tuple(targets)
