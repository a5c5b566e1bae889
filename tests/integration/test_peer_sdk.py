from __future__ import annotations

import asyncio
import inspect

import httpx
import pytest
from scrape_do import async_api
from scrape_do.async_api import exceptions

from scrape_do_sandbox import SandboxThread

OTHER = "00000000-0000-4000-8000-000000000000"
QUICK = async_api.PollingStrategy(initial_interval=0.1, max_interval=0.1, jitter=False)


@pytest.fixture(scope="module")
def server():
    with SandboxThread(task_seconds=0.2) as server:
        yield server


@pytest.fixture
def sandbox(server):
    server.reset()
    return server


@pytest.fixture(params=["sync", "async"])
def peer(request, sandbox, monkeypatch):
    """Return a function that calls a method of the peer's sync or async client, on a new client."""
    sync = request.param == "sync"
    kind = async_api.ScrapeDoAsyncAPIClient if sync else async_api.AsyncScrapeDoAsyncAPIClient
    monkeypatch.setattr(kind, "BASE_URL", sandbox.url)

    def call(name, *args, token="t", **kwargs):
        if sync:
            with kind(token, retry_backoff=0.01) as client:
                return getattr(client, name)(*args, **kwargs)
        return asyncio.run(_call(kind, token, name, args, kwargs))

    return call


async def _call(kind, token, name, args, kwargs):
    async with kind(token, retry_backoff=0.01) as client:
        found = getattr(client, name)(*args, **kwargs)
        return await found if inspect.isawaitable(found) else found


def test_the_whole_life_of_a_job(peer, sandbox):
    sandbox.configure(task_seconds=2.0)  # slow enough for a poll of the running job, even on a slow machine
    made = peer("create_job", targets=["https://a.example/1", "https://a.example/2"], session_id=42, timeout=5000)
    assert peer("get_job", made.job_id).status in {"queuing", "queued", "pending", "rotating"}
    early = peer("get_task", made.job_id, made.task_ids[0])
    assert early.job_id == made.job_id
    job = peer("wait_for_job", made.job_id, strategy=QUICK)
    assert (job.status, job.is_success) == ("success", True)
    task = peer("get_task", made.job_id, made.task_ids[1])
    assert (task.url, task.status_code, task.is_expired) == ("https://a.example/2", 200, False)
    assert b"<title>" in task.decoded_content()
    assert task.scrape_do_metadata["Request-Cost"] == "1"
    listing = peer("list_jobs", status="success", page_size=5)
    assert ([job.job_id for job in listing.jobs], listing.total_count) == ([made.job_id], 1)
    me = peer("get_user_info")
    assert (me.available_credits, me.active_jobs) == (999_998, 0)


def test_submit_and_wait(peer):
    result = peer("submit_and_wait", targets=["https://a.example/?binary=1"], strategy=QUICK)
    assert result.job.status == "success"
    assert len(result.tasks[0].decoded_content()) == 4096


def test_a_plugin_job(peer):
    plugin = {"key": "google/search", "params": [{"q": "shoes"}]}
    result = peer("submit_and_wait", plugin=plugin, strategy=QUICK)
    assert b'"q": "shoes"' in result.tasks[0].decoded_content()


def test_cancel(peer, sandbox):
    sandbox.configure(task_seconds=1000)
    made = peer("create_job", targets=["https://a.example/1"])
    assert peer("cancel_job", made.job_id).canceled is True
    job = peer("wait_for_job", made.job_id, strategy=QUICK)
    with pytest.raises(exceptions.JobCanceledError):
        job.raise_for_status()


def test_a_failed_job(peer):
    with pytest.raises(exceptions.JobFailedError):
        peer("submit_and_wait", targets=["https://a.example/?sandbox=error"], strategy=QUICK)


def test_error_classes(peer, sandbox):
    made = peer("create_job", targets=["https://a.example/1"])
    peer("wait_for_job", made.job_id, strategy=QUICK)
    with pytest.raises(exceptions.AsyncAPIBadRequestError) as bad:
        peer("create_job", targets=[])
    assert bad.value.error_info.error == "Targets must not be empty"
    with pytest.raises(exceptions.AsyncAPINotFoundError):
        peer("get_job", OTHER)
    with pytest.raises(exceptions.AsyncAPINotAcceptableError):
        peer("cancel_job", made.job_id)
    sandbox.configure(token="other")
    with pytest.raises(exceptions.AsyncAPIAuthError):
        peer("get_user_info")


def test_faults_reach_it(peer, sandbox):
    sandbox.fault("status", status=503, times=2)
    assert peer("get_user_info").available_credits == 1_000_000
    sandbox.fault("status", status=500)
    with pytest.raises(exceptions.AsyncAPIServerError):
        peer("get_user_info")
    sandbox.clear_faults()
    sandbox.fault("fractional_credits")
    with pytest.raises(exceptions.AsyncAPIUnparsableResponseError):
        peer("get_user_info")


def test_when_the_answer_is_lost_it_buys_again(peer, sandbox):
    sandbox.fault("reset_after", kind="create_job", times=3)
    made = peer("create_job", targets=["https://a.example/dear"])
    posts = [entry for entry in sandbox.log() if entry["kind"] == "create_job"]
    assert [entry["status"] for entry in posts] == ["reset", "reset", "reset", 201]
    assert len({entry["job_id"] for entry in posts}) == sandbox.stats()["jobs_created"] == 4
    assert posts[-1]["job_id"] == made.job_id


def test_when_the_answer_is_late_it_buys_again(peer, sandbox):
    sandbox.fault("slow", kind="create_job", seconds=2, times=2)
    peer("create_job", targets=["https://a.example/dear"], r_timeout=httpx.Timeout(0.2))
    assert sandbox.stats()["jobs_created"] == 3
