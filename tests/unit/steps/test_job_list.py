"""Test the reading of a job list that changes meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from scrape_do_celery.errors import AsyncAPIBadRequestError
from scrape_do_celery.models import JobDetails, JobsListResponse
from scrape_do_celery.models.statuses import RUNNING
from scrape_do_celery.steps.job_list import JobListReader, note_api_clock

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class API:
    """A list of jobs by status, newest first. `between` is called after each page."""

    def __init__(self, jobs, between=lambda *_: None, totals=True):
        self.jobs, self.between, self.totals, self.reads = list(jobs), between, totals, []

    async def read(self, *, page, page_size, status=None, sort=None):
        self.reads.append((status, page))
        found = [job for job in self.jobs if status in {None, str(job.status)}]
        shown = found[(page - 1) * page_size : page * page_size]
        answer = JobsListResponse(jobs=shown, total_pages=-(-len(found) // page_size) if self.totals else 0)
        self.between(self, status, page)
        return answer


def job(number, status="queued", age=0.0):
    start = None if status in {"queuing", "queued"} else NOW - timedelta(seconds=age)
    return JobDetails(job_id=f"j{number}", status=status, task_ids=["t"], start_time=start)


def look(api, back_to=NOW - timedelta(minutes=5), times=1):
    async def go():
        job_list = JobListReader(api.read)
        for _ in range(times):
            found = await job_list.read_listing(asyncio.get_running_loop().time(), back_to)
        return set(found.jobs)

    return asyncio.run(go())


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
@pytest.mark.parametrize("totals", [True, False])
def test_every_running_job_is_seen(count, totals):
    assert len(look(API([job(n) for n in range(count)], totals=totals))) == count


@pytest.mark.parametrize("leaving", [1, 7, 60])
def test_jobs_that_leave_a_page_hide_none_behind_it(leaving):
    """Let the first jobs of the next page move up into the page that was already read."""

    def start_some(api, status, page):
        if (status, page) == ("queued", 1) and api.jobs[0].job_id == "j0":
            api.jobs = [job(n, "success", age=9_999) for n in range(leaving)] + api.jobs[leaving:]

    seen = look(API([job(n) for n in range(250)], start_some))
    assert {f"j{n}" for n in range(leaving, 250)} <= seen


def test_a_job_that_moves_on_meanwhile_is_met_again():
    def move_on(api, status, page):
        api.jobs = [job(1, "pending") if status == "queuing" else one for one in api.jobs]

    assert look(API([job(1, "queuing")], move_on)) == {"j1"}
    # The job was queued during the list of queuing jobs, and pending during the list of queued jobs.
    assert look(API([job(1, "queued")], move_on)) == {"j1"}


def test_list_is_read_back_to_the_intent_only():
    api = API([job(n, "success", age=10.0 * n) for n in range(1_000)])
    seen = look(api)
    assert {f"j{n}" for n in range(30)} <= seen
    assert [page for status, page in api.reads if status is None] == [1, 2, 1, 10]


def test_jobs_without_a_time_do_not_end_the_reading():
    api = API([*(job(n) for n in range(150)), *(job(n, "success", age=1.0) for n in range(150, 160))])
    assert {f"j{n}" for n in range(160)} == look(api)


class Tail:
    """A long list that puts jobs without a start time last. `totals` are each page's totals of the list."""

    def __init__(self, jobs, unreadable=0, **totals):
        self.jobs, self.unreadable, self.totals, self.pages = jobs, unreadable, totals, []

    async def read(self, *, page, page_size, status=None, sort=None):
        if status is not None:
            return JobsListResponse(jobs=[])
        self.pages.append(page)
        shown = [one.to_wire() for one in self.jobs[(page - 1) * page_size : page * page_size]]
        if self.unreadable and 1 < page <= self.unreadable:
            shown.append({"Status": "success"})
        return JobsListResponse.from_answer({"Jobs": shown, **self.totals})

    def look(self):
        async def go():
            return await JobListReader(self.read).read_listing(0.0, NOW - timedelta(minutes=5))

        return asyncio.run(go())


def with_unstarted(started, unstarted=1):
    return [
        *(job(n, "success", age=600.0 + n) for n in range(started)),
        *(job(f"new{n}", "queued") for n in range(unstarted)),
    ]


@pytest.mark.parametrize(
    ("started", "totals", "pages"),
    [
        (199, {"TotalCount": 200, "TotalPages": 2}, [1, 2]),
        # The totals name a page too many, a page too few, or no page count.
        (199, {"TotalCount": 200, "TotalPages": 3}, [1, 2]),
        (199, {"TotalPages": 3}, [1, 3, 2]),
        (199, {"TotalCount": 200, "TotalPages": 1}, [1, 2]),
        (199, {"TotalCount": 200}, [1, 2]),
        (450, {"TotalCount": 650}, [1, 7, 6, 5, 4]),
        # Without totals the reader goes on to the end of the list.
        (199, {}, [1, 2, 3, 1]),
        (199, {"TotalPages": 1}, [1, 2, 3, 1]),
    ],
)
def test_jobs_without_a_time_at_the_end_are_read(started, totals, pages):
    tail = Tail(with_unstarted(started), **totals)
    found = tail.look()
    assert "jnew0" in found.jobs
    assert (found.complete, tail.pages) == (True, pages)


def test_all_pages_of_jobs_without_a_time_are_read():
    found = Tail(with_unstarted(450, 250), TotalCount=700).look()
    assert sum(one.start_time is None for one in found.jobs.values()) == 250


def test_totals_that_promise_many_empty_pages_make_a_listing_incomplete():
    tail = Tail(with_unstarted(199), TotalPages=10**9)
    assert not tail.look().complete
    assert len(tail.pages) == 4


@pytest.mark.parametrize(("unreadable", "complete"), [(1, True), (2, False)])
def test_unreadable_entry_among_jobs_without_a_time_counts(unreadable, complete):
    assert Tail(with_unstarted(150), unreadable, TotalCount=151).look().complete is complete


@pytest.mark.parametrize(("hours", "pages"), [(0, [1, 2, 1, 10]), (5, [1, 2, 1, 10])])
def test_a_list_in_local_time_is_read_back_as_far(hours, pages):
    """Read a list whose times are local and have no zone. Its `Date` header is right."""
    api = API([job(n, "success", age=10.0 * n + 3600 * hours) for n in range(1_000)])

    async def go():
        async def read(**filters):
            note_api_clock(200, {"date": "Tue, 24 Nov 2026 12:00:00 GMT"})
            return await api.read(**filters)

        job_list = JobListReader(read)
        await job_list.read_listing(0.0, NOW - timedelta(minutes=5))

    asyncio.run(go())
    assert [page for status, page in api.reads if status is None] == pages


def test_a_listing_that_is_fresh_enough_serves_everybody():
    api = API([job(1)])

    async def go():
        job_list, clock = JobListReader(api.read), asyncio.get_running_loop().time
        asked = clock()
        await asyncio.gather(*(job_list.read_listing(asked, NOW) for _ in range(20)))
        reads = len(api.reads)
        await job_list.read_listing(clock(), NOW)
        return reads

    assert asyncio.run(go()) == 5
    assert len(api.reads) == 10


def test_listing_that_is_too_short_is_read_anew():
    api = API([])

    async def go():
        job_list = JobListReader(api.read)
        await job_list.read_listing(0.0, NOW)
        await job_list.read_listing(0.0, NOW - timedelta(hours=1))

    asyncio.run(go())
    assert len(api.reads) == 10


@pytest.mark.parametrize(("slow", "known"), [(0.0, True), (1.2, False)])
def test_only_an_answer_that_came_at_once_tells_the_time(slow, known):
    async def go():
        async def read(**_):
            await asyncio.sleep(slow)
            note_api_clock(200, {"date": "Tue, 24 Nov 2026 12:00:00 GMT"})
            return JobsListResponse()

        job_list, loop = JobListReader(read), asyncio.get_running_loop()
        assert job_list.api_clock_offset(0.0, 3600.0) is None
        await job_list.read_page(1)
        # The store's clock shows eleven o'clock.
        return job_list.api_clock_offset((NOW - timedelta(hours=1)).timestamp() - loop.time(), 3700.0)

    ahead = asyncio.run(go())
    assert ahead == pytest.approx(3600, abs=2) if known else ahead is None


@pytest.mark.parametrize("date", ["", "soon", "Tue, 99 Nov 2026 12:00:00 GMT"])
def test_a_date_that_cannot_be_read_is_none(date):
    async def read(**_):
        note_api_clock(200, {"date": date})
        return JobsListResponse()

    job_list = JobListReader(read)
    asyncio.run(job_list.read_page(1))
    assert job_list.api_clock_offset(0.0, 3600.0) is None


def test_only_list_answers_set_the_api_clock():
    """Answer another call from another API server, which has its own clock, in the meantime."""

    async def go():
        async def read(**_):
            note_api_clock(200, {"date": "Tue, 24 Nov 2026 12:00:00 GMT"})
            await asyncio.sleep(0.05)
            return JobsListResponse()

        async def another():
            await asyncio.sleep(0.02)
            note_api_clock(200, {"date": "Tue, 24 Nov 2026 11:00:00 GMT"})

        job_list = JobListReader(read)
        meanwhile = asyncio.create_task(another())
        await job_list.read_page(1)
        await meanwhile
        return job_list.api_clock_offset(NOW.timestamp() - asyncio.get_running_loop().time(), 3600.0)

    assert asyncio.run(go()) == pytest.approx(0, abs=2)


def refused(status=400):
    return AsyncAPIBadRequestError("GET /api/v1/jobs: 400", status, "invalid status", status)


def refusing(api, *statuses):
    async def read(**filters):
        if filters.get("status") in statuses:
            raise refused()
        return await api.read(**filters)

    return JobListReader(read)


def test_unsupported_status_filter_is_no_error(caplog):
    job_list = refusing(API([job(1), job(2, "success")]), "rotating")

    async def go():
        await job_list.read_listing(0.0, NOW)
        return await job_list.read_listing(asyncio.get_running_loop().time(), NOW), await job_list.running_jobs()

    found, running = asyncio.run(go())
    assert (set(found.jobs), found.complete, set(running)) == ({"j1", "j2"}, True, {"j1"})
    assert [line.message for line in caplog.records if "rotating" in line.message] == [caplog.records[0].message]


def test_no_running_jobs_are_known_without_status_filters():
    job_list = refusing(API([job(1)]), *RUNNING)

    async def go():
        found = await job_list.read_listing(0.0, NOW)
        with pytest.raises(AsyncAPIBadRequestError):
            await job_list.running_jobs()
        return found

    found = asyncio.run(go())
    assert (set(found.jobs), found.complete) == ({"j1"}, True)


def test_status_filter_that_works_again_is_used():
    api, statuses = API([job(1)]), [str(status) for status in RUNNING]

    async def read(**filters):
        if filters.get("status") in statuses:
            raise refused()
        return await api.read(**filters)

    async def go():
        job_list = JobListReader(read)
        await job_list.read_listing(0.0, NOW)
        del statuses[0]
        return await job_list.running_jobs()

    assert set(asyncio.run(go())) == set()


@pytest.mark.parametrize(("total", "complete"), [(100, True), (101, False)])
def test_refused_page_behind_the_end_means_no_such_page(total, complete):
    async def read(*, page, status=None, **_):
        if page > 1:
            raise refused()
        shown = [job(n, "success") for n in range(100)] if status is None else []
        return JobsListResponse(jobs=shown, total_count=total if status is None else 0)

    found = asyncio.run(JobListReader(read).read_listing(0.0, NOW - timedelta(minutes=5)))
    assert (len(found.jobs), found.complete) == (100, complete)


def test_any_other_error_of_the_list_is_trouble():
    async def read(**_):
        raise refused(409)

    with pytest.raises(AsyncAPIBadRequestError):
        asyncio.run(JobListReader(read).read_listing(0.0, NOW))
