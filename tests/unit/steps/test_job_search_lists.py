"""Test incomplete job lists: a job that is missing from the list is not bought again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scrape_do_celery.errors import AsyncAPINotFoundError, SubmitInDoubtError
from scrape_do_celery.models import JobCreationRequest, JobDetails, JobsListResponse
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartState, RunSpec
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.ownership import NoteUnowned
from scrape_do_celery.store.commands.purchases import WriteIntent

LEASE = 120.0
DAY = 86_400.0
URLS = ["https://shop.example/0", "https://shop.example/1"]


def lose_answer(step_harness, make):
    """Lose the answer to the part's `POST`. A second `POST` would be answered."""
    claim = step_harness.claim_part(seconds=LEASE)
    step_harness.run(WriteIntent(claim, "n", LEASE, account=step_harness.account))
    step_harness.update_part(claim, after=0.0, to="reconciling")
    step_harness.api.script(create_job=make.created("second"))


@pytest.fixture
def reconciling(step_harness, make):
    step_harness.create_run()
    lose_answer(step_harness, make)
    return step_harness


def iso(step_harness, ago=0.0):
    return (datetime.fromtimestamp(step_harness.clock.time(), UTC) - timedelta(seconds=ago)).isoformat()


def entry(job_id, urls, start=None, status="success"):
    tasks = [{"TaskID": f"t{n}", "URL": url, "Status": status} for n, url in enumerate(urls)]
    ids = [task["TaskID"] for task in tasks]
    return {"JobID": job_id, "Status": status, "StartTime": start, "TaskIDs": ids, "Tasks": tasks}


def others(count, start):
    return [entry(f"o{n}", [f"https://other.example/{n}"], start) for n in range(count)]


def paged(jobs, size, **totals):
    """Return the unfiltered list in pages of `size` jobs. Lists by status are empty."""

    def page(filters):
        if "status" in filters:
            return {"Jobs": [], "TotalCount": 0}
        at = (filters["page"] - 1) * size
        return {"Jobs": jobs[at : at + size], "TotalCount": len(jobs), **totals}

    return page


def in_all(job):
    """Return the job on the unfiltered list."""
    return paged([job], 100)


def serve(step_harness, page, *jobs):
    whole = {job["JobID"]: job for job in jobs}
    step_harness.api.script(
        list_jobs=lambda filters: JobsListResponse.from_answer(page(filters)),
        get_job=lambda i: JobDetails.from_answer(whole[i], job_id=i),
    )


def search(step_harness, fetch_passes=60):
    """Reconcile until the part is resolved. If the part is queued again, buy it."""
    for _ in range(fetch_passes):
        if step_harness.part().state is PartState.QUEUED:
            step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
        if step_harness.part().state is not PartState.RECONCILING:
            break
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.1)
        step_harness.run_step(reconcile_part, step_harness.claim_part())
    return step_harness.part()


@pytest.mark.parametrize(
    ("size", "totals"),
    [(20, {}), (10, {"PageSize": 100, "TotalPages": 1}), (10, {"PageSize": 100, "TotalPages": 0})],
)
def test_job_is_found_on_any_counted_page(reconciling, size, totals):
    mine = entry("j", URLS, iso(reconciling))
    every = [*others(60, iso(reconciling, -1)), mine]
    serve(reconciling, paged(every, size, **totals), *every)
    assert (search(reconciling).job_id, reconciling.api.posts) == ("j", 0)


def test_cached_first_page_proves_no_absence(reconciling):
    shown = others(100, iso(reconciling, -1))
    pages = []

    def page(filters):
        pages.append(filters["page"])
        return {"Jobs": [], "TotalCount": 0} if "status" in filters else {"Jobs": shown, "TotalCount": 101}

    serve(reconciling, page, *shown)
    assert (search(reconciling).state, reconciling.api.posts) == (PartState.RECONCILING, 0)
    assert max(pages) == 3


def test_gateway_404_is_ignored_for_a_job_on_page_two(step_harness):
    step_harness.create_run()
    step_harness.make_running()
    every = [*others(30, iso(step_harness, -1)), entry("job-r-0", URLS, iso(step_harness))]
    serve(step_harness, paged(every, 20))
    step_harness.api.script(get_user_info=None, get_job=AsyncAPINotFoundError("<html>404</html>", 404))
    for _ in range(60):
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 1)
        step_harness.run_step(poll_part, step_harness.claim_part())
    assert step_harness.part().state is PartState.RUNNING


@pytest.mark.parametrize(
    "totals", [{"TotalPages": 3}, {}, {"TotalPages": 2}], ids=["a page too many", "no pages", "right"]
)
def test_job_without_a_start_time_is_found(reconciling, totals):
    mine = entry("j", URLS, status="scheduled")
    every = [*(entry(f"o{n}", ["https://other.example/"], iso(reconciling, 7200 + n)) for n in range(199)), mine]
    serve(reconciling, paged(every, 100, **totals), *every)
    assert (search(reconciling).job_id, reconciling.api.posts) == ("j", 0)


def test_unreadable_entry_without_a_start_proves_no_absence(reconciling):
    mine = {**entry("j", URLS, status="scheduled"), "JobID": None}
    old = [entry(f"o{n}", ["https://other.example/"], iso(reconciling, 7200 + n)) for n in range(150)]
    serve(reconciling, paged([*old, mine], 100, TotalPages=2), *old)
    assert (search(reconciling).state, reconciling.api.posts) == (PartState.RECONCILING, 0)


def test_unordered_list_is_read_beyond_equal_start_times(reconciling):
    mine = entry("j", URLS, iso(reconciling))
    every = [*others(100, iso(reconciling, DAY)), mine]
    serve(reconciling, paged(every, 100, TotalPages=2), *every)
    assert (search(reconciling).job_id, reconciling.api.posts) == ("j", 0)


@pytest.mark.parametrize("found", [True, False])
def test_a_list_that_refuses_a_status_is_read_without_it(reconciling, make, found):
    mine = entry("j", URLS, iso(reconciling))
    whole = paged([mine] if found else [], 100)

    def page(filters):
        if filters.get("status") == "rotating":
            raise make.refusal(400)
        return whole(filters)

    serve(reconciling, page, mine)
    part = search(reconciling)
    assert (part.job_id, reconciling.api.posts) == (("j", 0) if found else ("second", 1))


# Start times


@pytest.mark.parametrize("zone", ["", "Z"])
@pytest.mark.parametrize(
    ("status", "hours"), [("pending", 5), ("success", 5), ("success", 12), ("rotating", 100), ("finished", 100)]
)
def test_job_with_a_local_start_time_is_not_bought_twice(reconciling, zone, status, hours):
    start = datetime.fromtimestamp(reconciling.clock.time() - 3600 * hours, UTC).strftime("%Y-%m-%dT%H:%M:%S") + zone
    mine = entry("j", URLS, start, status)
    serve(reconciling, in_all(mine), mine)
    part = search(reconciling)
    assert (part.outcome, part.error.candidates, reconciling.api.posts) == ("in_doubt", ("j",), 0)


@pytest.mark.parametrize("known", ["owned", "seen before"])
def test_hourly_run_finds_its_job_among_earlier_ones(step_harness, make, known):
    earlier = [entry(f"old{n}", URLS, iso(step_harness, 3600 * n)) for n in range(1, 14)]
    for job in earlier:
        if known == "seen before":
            step_harness.run(NoteUnowned(step_harness.account, [job["JobID"]]))
        else:
            step_harness.redis.set(step_harness.keys.owner(job["JobID"]), "earlier:0")
    step_harness.create_run()
    lose_answer(step_harness, make)
    mine = entry("j", URLS, iso(step_harness))
    serve(step_harness, paged([mine, *earlier], 100), mine, *earlier)
    assert (search(step_harness).job_id, step_harness.api.posts) == ("j", 0)
    # A known task is not fetched again.
    assert step_harness.api.called("get_job") == [["j"]]


# Answers that name some of a job's tasks


def test_task_preview_says_nothing_about_other_tasks(reconciling):
    mine = entry("j", URLS, iso(reconciling))
    serve(reconciling, in_all({**mine, "Tasks": mine["Tasks"][:1], "TaskIDs": None}), mine)
    assert (search(reconciling).job_id, reconciling.api.posts) == ("j", 0)


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    "named", [URLS[:1], [URLS[0], *URLS], [URLS[1], URLS[1]]], ids=["some", "an attempt more", "attempts of one"]
)
def test_ended_job_with_only_our_targets_proves_no_absence(reconciling, named, listed, ids):
    mine = entry("j", named, iso(reconciling))
    mine["TaskIDs"] = mine["TaskIDs"] if ids else None
    serve(reconciling, in_all(mine if listed else {**mine, "Tasks": None}), mine)
    assert (search(reconciling).state, reconciling.api.posts) == (PartState.RECONCILING, 0)
    reconciling.clock.forward(4 * DAY)
    assert (search(reconciling).outcome, reconciling.api.posts) == ("in_doubt", 0)


def test_job_with_some_of_its_tasks_proves_no_absence(step_harness, make):
    step_harness.create_run(targets=200)
    lose_answer(step_harness, make)
    mine = entry("j", make.urls(100), iso(step_harness))
    serve(step_harness, in_all({**mine, "TaskIDs": None, "Tasks": None}), {**mine, "TaskIDs": None})
    assert (search(step_harness).state, step_harness.api.posts) == (PartState.RECONCILING, 0)


@pytest.mark.parametrize(
    "named", [["https://other.example/"], [URLS[0], "https://other.example/"], [*URLS, "https://other.example/"]]
)
@pytest.mark.parametrize("summary", [True, False])
def test_a_job_that_names_anything_else_is_anothers(reconciling, make, named, summary):
    other = entry("other", named, iso(reconciling))
    serve(reconciling, in_all({**other, "Tasks": None}), other if summary else {**other, "Tasks": None})
    reconciling.api.script(get_task=lambda _, i: make.task(int(i[1:]), job="other", url=named[int(i[1:])]))
    assert (search(reconciling).job_id, reconciling.api.posts) == ("second", 1)


def test_job_with_a_repeated_task_proves_no_absence(reconciling, make):
    named = [*URLS, URLS[0]]
    mine = entry("j", named, iso(reconciling))
    serve(reconciling, in_all({**mine, "Tasks": None}), {**mine, "Tasks": mine["Tasks"][:2]})
    reconciling.api.script(get_task=lambda _, i: make.task(int(i[1:]), job="j", url=named[int(i[1:])]))
    assert (search(reconciling).state, reconciling.api.posts) == (PartState.RECONCILING, 0)


def test_old_job_of_some_targets_is_ignored(reconciling):
    old = entry("old", URLS[:1], iso(reconciling, 2 * DAY))
    serve(reconciling, in_all(old), old)
    assert (search(reconciling).job_id, reconciling.api.posts) == ("second", 1)


@pytest.mark.parametrize(
    ("fields", "posts"),
    [
        ({"TaskIDs": ["t0"], "Status": "success"}, 1),
        ({"TaskIDs": ["t0"], "Status": "pending"}, 0),
        ({"TaskIDs": None, "Status": "success"}, 0),
        ({"TaskIDs": None, "Tasks": None}, 0),
    ],
)
def test_plugin_job_is_matched_by_its_task_count(step_harness, make, fields, posts):
    plugin = {"key": "google/search", "params": [{"q": "a"}, {"q": "b"}]}
    step_harness.run(CreateRun("r", RunSpec(JobCreationRequest(plugin=plugin))))
    lose_answer(step_harness, make)
    job = {**entry("j", URLS[:1], iso(step_harness)), **fields}
    serve(step_harness, in_all(job), job)
    search(step_harness)
    assert step_harness.api.posts == posts


# Markers


@pytest.fixture
def shared(step_harness, make, settings):
    step_harness.settings = settings.model_copy(
        update={"shared_account": True, "marker_url": "https://user:[pw@h.example/x"}
    )
    step_harness.create_run()
    step_harness.api.script(create_job=SubmitInDoubtError("the answer was lost", 2))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    (request,) = step_harness.api.called("create_job")[0]
    step_harness.api.script(create_job=make.created("second"))
    return step_harness, request.webhook_url


@pytest.mark.parametrize("ids", [True, False])
def test_a_webhook_that_only_some_parsers_read_carries_a_marker(shared, make, ids):
    step_harness, webhook = shared
    mine = entry("j", URLS, iso(step_harness))
    mine["TaskIDs"] = mine["TaskIDs"] if ids else None
    serve(step_harness, in_all(mine), mine)
    step_harness.api.script(get_task=make.task(job="j", webhook_url=webhook))
    assert (search(step_harness).job_id, step_harness.api.posts) == ("j", 1)


@pytest.mark.parametrize("webhook", [None, "https://[hidden]/x", "***"])
@pytest.mark.parametrize("status", ["success", "pending"])
def test_a_task_that_shows_no_webhook_proves_no_absence(shared, make, webhook, status):
    step_harness, _ = shared
    mine = entry("j", URLS, iso(step_harness), status)
    serve(step_harness, in_all(mine), mine)
    step_harness.api.script(get_task=make.task(job="j", status=status, webhook_url=webhook))
    assert (search(step_harness).state, step_harness.api.posts) == (PartState.RECONCILING, 1)
    step_harness.clock.forward(4 * DAY)
    assert (search(step_harness).outcome, step_harness.api.posts) == ("in_doubt", 1)


@pytest.mark.parametrize(("ago", "webhook"), [(0, "https://theirs.example/x"), (2 * DAY, None)])
def test_foreign_job_on_a_shared_account_is_ignored(shared, make, ago, webhook):
    step_harness, _ = shared
    theirs = entry("j", URLS, iso(step_harness, ago))
    serve(step_harness, in_all(theirs), theirs)
    step_harness.api.script(get_task=make.task(job="j", webhook_url=webhook))
    assert (search(step_harness).job_id, step_harness.api.posts) == ("second", 2)


# URLs in the spelling of the server


@pytest.mark.parametrize(
    ("target", "written"),
    [
        ("https://shop.example/a%20b", "https://shop.example/a b"),
        ("https://shop.example/%20", "https://shop.example/ "),
        ("https://user:secret@shop.example/0", "https://user:xxxxx@shop.example/0"),
        ("https://user:secret@shop.example/0", "https://shop.example/0"),
        ("https://shop.example/e\u0301", "https://shop.example/%C3%A9"),
        ("https://shop.example/a%20b", "https://shop.example/a%2520b"),
        ("https://shop.example/a/", "https://shop.example/a"),
        ("https://shop.example//a", "https://shop.example/a"),
    ],
)
def test_job_is_found_under_rewritten_urls(step_harness, make, target, written):
    step_harness.create_run(each=[target])
    lose_answer(step_harness, make)
    mine = entry("j", [written], iso(step_harness))
    serve(step_harness, in_all({**mine, "Tasks": None}), mine)
    assert (search(step_harness).job_id, step_harness.api.posts) == ("j", 0)


@pytest.mark.parametrize("listed", [True, False])
def test_a_job_whose_long_url_is_cut_proves_no_absence(step_harness, make, listed):
    url = "https://shop.example/?signature=" + "a" * 400
    step_harness.create_run(each=[url])
    lose_answer(step_harness, make)
    mine = entry("j", [url[:256]], iso(step_harness))
    serve(step_harness, in_all(mine if listed else {**mine, "Tasks": None}), mine)
    assert (search(step_harness).state, step_harness.api.posts) == (PartState.RECONCILING, 0)
