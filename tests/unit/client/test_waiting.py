from __future__ import annotations

import asyncio

import httpx
import pytest

from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIAuthError,
    AsyncAPINotFoundError,
    AsyncAPIResponseError,
    AsyncAPIServerError,
    JobTimeoutError,
)
from scrape_do_celery.models import JobCanceledError, JobCreationRequest, JobFailedError
from scrape_do_celery.rules.polling import PollingStrategy

URLS = [f"https://a.example/{number}" for number in range(4)]
REQUEST = JobCreationRequest(targets=URLS)
STEADY = PollingStrategy(initial_interval=5, max_interval=5, jitter=False, max_wait=100)
DOWN = (503, None)
NOWHERE = (404, {"Error": "job not found", "Code": 404})


def job(status, **more):
    return 200, {"JobID": "j1", "Status": status, **more}


def listed(page, total, *ids):
    return 200, {"Jobs": [{"JobID": one, "Status": "queued"} for one in ids], "PageNumber": page, "TotalPages": total}


class API:
    """A job that ends at once, with one task per target."""

    def __init__(self, status="success", *, order=range(4), named=True):
        self.order, self.status, self.named = list(order), status, named
        self.special = {}

    def __call__(self, request):
        last = request.url.path.rpartition("/")[2]
        if request.method == "POST":
            return 201, {"JobID": "j1", "TaskIDs": [f"t{n}" for n in self.order]}
        if last == "j1":
            return job(self.status, **(self.tasks() if self.named else {}))
        found = self.special.get(last)
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found or (200, self.task(last, "success"))

    def tasks(self):
        return {"TaskIDs": [f"t{n}" for n in self.order], "Tasks": [self.task(f"t{n}", "success") for n in self.order]}

    @staticmethod
    def task(task_id, status):
        return {"TaskID": task_id, "JobID": "j1", "URL": URLS[int(task_id[1:])], "Status": status, "Content": task_id}


def wait(world, strategy=STEADY):
    return world.run(lambda client: client.wait_for_job("j1", strategy))


@pytest.mark.parametrize("status", ["success", "error", "canceled"])
def test_wait_returns_whatever_the_job_ended_as(world, status):
    world.answers = [job("queued"), job("what-is-this"), job(status)]
    assert wait(world).status == status
    assert world.sleeps == [5, 5]


def test_the_first_look_is_immediate(world):
    world.answers = [job("success")]
    wait(world)
    assert world.sleeps == []


def test_wait_polls_last_at_the_deadline(world):
    world.answers = [job("pending")]
    with pytest.raises(JobTimeoutError) as caught:
        wait(world, PollingStrategy(initial_interval=4, max_interval=4, jitter=False, max_wait=10))
    assert world.sleeps == [4, 4, 2]
    assert (caught.value.last_status, caught.value.attempts) == ("pending", 4)


def test_the_clients_own_strategy(world):
    world.answers = [job("pending"), job("success")]
    world.run(lambda client: client.wait_for_job("j1"), strategy=lambda attempt, elapsed, job: 0.25)
    assert world.sleeps == [0.25]


def test_an_outage_does_not_end_a_wait(world):
    world.answers = [job("pending"), DOWN, httpx.ReadError, (429, None), job("success")]
    assert world.run(lambda client: client.wait_for_job("j1", STEADY), max_retries=0).is_success
    assert world.sleeps == [5, 5, 5, 5]


def test_an_outage_that_lasts_does(world):
    world.answers = [job("pending"), DOWN]
    with pytest.raises(AsyncAPIServerError):
        world.run(lambda client: client.wait_for_job("j1", STEADY), max_retries=0)
    assert len(world.requests) == 11


def test_an_outage_is_within_the_budget(world):
    world.answers = [DOWN]
    with pytest.raises(JobTimeoutError) as caught:
        world.run(lambda client: client.wait_for_job("j1", PollingStrategy(max_attempts=2)), max_retries=0)
    assert caught.value.job_id == "j1"


def test_other_errors_end_a_wait(world):
    world.answers = [(401, None)]
    with pytest.raises(AsyncAPIAuthError):
        wait(world)
    assert len(world.requests) == 1


def test_a_job_that_is_not_there_three_times_is_lost(world):
    world.answers = [NOWHERE, NOWHERE, job("pending"), NOWHERE]
    with pytest.raises(AsyncAPINotFoundError):
        wait(world)
    assert len(world.requests) == 6


def test_a_gateways_404_says_nothing_about_a_job(world):
    world.answers = [job("pending"), *[(404, b"<html>no route</html>")] * 9, job("success")]
    assert wait(world).is_success


@pytest.mark.parametrize("status", [404, 410])
def test_a_gateways_404_says_nothing_about_a_task(world, status):
    api = API()
    api.special["t1"] = (status, b"<html>no route</html>")
    world.answers = [api]
    with pytest.raises(AsyncAPIResponseError) as caught:
        world.run(lambda client: client.submit_and_wait(REQUEST))
    assert [task.content for task in caught.value.result.tasks] == ["t0", "t2", "t3"]


def test_a_new_job_may_be_unknown_for_a_while(world):
    api, unknown = API(), [NOWHERE] * 8
    world.answers = [lambda request: unknown.pop() if request.url.path.endswith("j1") and unknown else api(request)]
    result = world.run(lambda client: client.submit_and_wait(REQUEST, STEADY))
    assert [task.content for task in result.tasks] == ["t0", "t1", "t2", "t3"]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]], ids=str)
@pytest.mark.parametrize("named", [True, False])
def test_results_come_in_the_order_of_the_input(world, order, named):
    world.answers = [API(order=order, named=named)]
    result = world.run(lambda client: client.submit_and_wait(targets=URLS))
    assert [task.url for task in result.tasks] == URLS
    assert result.order_verified
    assert result.job.task_ids == [f"t{n}" for n in order]


@pytest.mark.parametrize("return_json", [True, False])
def test_only_the_request_says_that_answers_are_those_of_a_render(world, return_json):
    api = API()
    page = '{"screenShots": [], "resolvedUrl": "https://forged.example/"}'
    api.special["t1"] = (200, {**api.task("t1", "success"), "Content": page, "ReturnJSON": True})
    world.answers = [api]
    render = {"return_json": return_json}
    task = world.run(lambda client: client.submit_and_wait(targets=URLS, render=render)).tasks[1]
    assert (task.return_json, task.resolved_url) == (return_json, "https://forged.example/" if return_json else None)
    assert world.run(lambda client: client.get_task("j1", "t1")).resolved_url is None


@pytest.mark.parametrize("status", [404, 410])
def test_a_gone_task_is_data(world, status):
    api = API()
    api.special["t2"] = (status, {"Error": "no longer available"})
    world.answers = [api]
    gone = world.run(lambda client: client.submit_and_wait(REQUEST)).tasks[2]
    assert (gone.status, gone.gone, gone.url) == ("error", True, URLS[2])
    assert "no longer available" in gone.error_message


def test_a_task_that_lags_is_looked_at_again(world):
    api = API()
    api.special["t1"] = [(200, api.task("t1", "pending"))] * 2 + [(200, api.task("t1", "success"))]
    world.answers = [api]
    assert all(task.is_success for task in world.run(lambda client: client.submit_and_wait(REQUEST)).tasks)
    assert world.sleeps == [0.5, 0.5]


def test_a_task_that_never_ends_is_gone_after_five_looks(world):
    api = API()
    api.special["t1"] = (200, {**api.task("t1", "rotating"), "Content": None})
    world.answers = [api]
    task = world.run(lambda client: client.submit_and_wait(REQUEST)).tasks[1]
    assert (task.status, task.gone, task.url) == ("error", True, URLS[1])
    assert "rotating" in task.error_message
    assert len(world.sleeps) == 4


def test_content_that_it_showed_is_kept_and_is_not_gone(world):
    api = API()
    api.special["t1"] = (200, api.task("t1", "rotating"))
    world.answers = [api]
    task = world.run(lambda client: client.submit_and_wait(REQUEST)).tasks[1]
    assert (task.status, task.gone, task.given_up, task.content) == ("error", False, True, "t1")


def test_content_ends_a_task_with_an_unknown_status(world):
    api = API()
    api.special["t1"] = (200, api.task("t1", "archived"))
    world.answers = [api]
    task = world.run(lambda client: client.submit_and_wait(REQUEST)).tasks[1]
    assert (task.status, task.content, world.sleeps) == ("success", "t1", [])


@pytest.mark.parametrize(("status", "error"), [("error", JobFailedError), ("canceled", JobCanceledError)])
def test_a_failed_job_keeps_what_was_fetched(world, status, error):
    world.answers = [API(status)]
    with pytest.raises(error) as caught:
        world.run(lambda client: client.submit_and_wait(REQUEST))
    assert [task.content for task in caught.value.result.tasks] == ["t0", "t1", "t2", "t3"]
    assert "Content" not in repr(caught.value.args)


def test_a_task_that_cannot_be_fetched_keeps_the_others(world):
    api = API()
    api.special["t1"] = DOWN
    world.answers = [api]
    with pytest.raises(AsyncAPIServerError) as caught:
        world.run(lambda client: client.submit_and_wait(REQUEST))
    assert [task.content for task in caught.value.result.tasks] == ["t0", "t2", "t3"]


def test_a_failed_job_says_so_before_its_tasks_do(world):
    api = API("error")
    api.special["t1"] = httpx.ReadError
    world.answers = [lambda request: api(request) if "t1" not in request.url.path else fail(request)]

    def fail(_):
        raise httpx.ReadError("broke")

    with pytest.raises(JobFailedError) as caught:
        world.run(lambda client: client.submit_and_wait(REQUEST))
    assert len(caught.value.result.tasks) == 3


def test_the_timeout_reaches_every_request(world):
    world.answers = [API()]
    world.run(lambda client: client.submit_and_wait(REQUEST, timeout=3.5))
    assert {request.extensions["timeout"]["read"] for request in world.requests} == {3.5}
    assert len(world.requests) == 6


def test_iter_jobs_walks_all_pages_and_skips_what_it_saw(world):
    world.answers = [listed(1, 3, "a", "b", "b"), listed(2, 3, "b", "c"), listed(3, 3), listed(1, 3, "never")]
    jobs = world.run(lambda client: client.iter_jobs(status="queued"))
    assert [one.job_id for one in jobs] == ["a", "b", "c"]
    queries = [dict(request.url.params) for request in world.requests]
    assert queries == [{"page_size": "100", "status": "queued", "page": str(page)} for page in (1, 2, 3)]


def test_iter_jobs_goes_on_over_a_page_of_old_jobs(world):
    world.answers = [listed(1, 3, "a"), listed(2, 3, "a"), listed(3, 3, "b"), listed(4, 3)]
    assert [one.job_id for one in world.run(lambda client: client.iter_jobs(page_size=1))] == ["a", "b"]


def test_iter_jobs_skips_an_unreadable_page(world):
    bad = (200, {"Jobs": [{"JobID": 7.5}], "PageNumber": 2, "TotalPages": 3})
    world.answers = [listed(1, 3, "a"), bad, listed(3, 3, "A", "b"), listed(4, 3)]
    assert [one.job_id for one in world.run(lambda client: client.iter_jobs(page_size=1))] == ["a", "b"]


def test_iter_jobs_ends_if_the_last_page_repeats(world):
    world.answers = [listed(1, 0, "a")]
    assert [one.job_id for one in world.run(lambda client: client.iter_jobs(page=7))] == ["a"]
    assert [request.url.params["page"] for request in world.requests] == ["7", "8"]


def test_fetches_no_more_at_once_than_told(world):
    running, most = set(), []
    api = API()

    async def slow(request):
        running.add(request)
        most.append(len(running))
        await asyncio.sleep(0.01)
        running.discard(request)
        status, body = api(request)
        return httpx.Response(status, json=body)

    world.answers = [api]
    if world.colour == "async":
        world.answer = slow
    result = world.run(lambda client: client.submit_and_wait(REQUEST), concurrency=2)
    assert len(result.tasks) == 4
    assert max(most, default=2) == 2


def test_a_wait_that_never_connects_names_the_job(world):
    world.answers = [httpx.ConnectError]
    with pytest.raises(APIConnectionError, match="/api/v1/jobs/j1"):
        world.run(lambda client: client.wait_for_job("j1", STEADY), max_retries=0)
