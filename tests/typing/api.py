"""Use every public name, for the type checkers; never run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import scrape_do_celery as s
from scrape_do_celery.tasks import scrape


def producing() -> s.RunHandle:
    request = s.JobCreationRequest(targets=["https://a.example/"], geo_code="us", render=s.RenderOptions())
    plugin = s.JobCreationRequest(plugin=s.PluginRequest(key="google/search", params=[{"q": "x"}]))
    s.enqueue(plugin=s.GoogleSearch([s.SearchParams(q="x"), {"q": "y"}]))
    s.enqueue(plugin=s.Plugin("new/key", [{"q": "y"}]))
    s.enqueue(["https://a.example/"], geo_code="us")
    s.enqueue(plugin, settings=s.Settings(redis_url="redis://localhost/3"))
    scrape.delay(targets=["https://a.example/"])
    scrape.delay(targets=[s.Target("https://a.example/", meta={"sku": "A"})])
    return s.enqueue(request, idempotency_key="k", raise_on_task_failure=False, max_wait=3600)


def starting_with_options(urls: list[str]) -> None:
    s.enqueue(urls, render={"wait_until": "load"}, early=True, max_wait=60)
    s.enqueue(plugin={"key": "google/search", "params": [{"q": "x"}]}, raise_on_task_failure=True)
    s.enqueue_many([urls, s.JobCreationRequest(targets=urls)], device="mobile", max_wait=None)
    s.scheduled_run("prices", 60, urls, credentials="shop", output="markdown", early=False)
    inputs = [s.Target(url, meta={"row": row}) for row, url in enumerate(urls)]
    s.enqueue(inputs, dedupe=True, label="prices", tags=["shop:7"])
    s.enqueue(urls, fairness_key="shop:7", fairness_weight=2, priority=-1)
    s.enqueue(urls, webhook=True)
    s.enqueue([s.Target(urls[0], {"sku": "A"}), urls[1], {"url": urls[2], "meta": 7}])
    s.enqueue_many([inputs, urls], dedupe=True)
    s.scheduled_run("prices", 60, inputs)
    options: dict[str, Any] = {"geo_code": "us"}
    s.enqueue(urls, **options)


def planning(urls: list[str]) -> s.RunPlan:
    found: s.Estimate = s.estimate(urls, super=True, dedupe=True)
    most: float | None = found.maximum
    plans: list[s.RunPlan] = s.enqueue_many([urls], dry_run=True)
    handle: s.RunHandle = s.enqueue(urls, dry_run=False)
    seconds: float | None = plans[0].expected_seconds
    print(most, seconds, handle, found.to_json(), plans[0].estimate.expected)
    return s.enqueue(s.JobCreationRequest(targets=urls), dry_run=True, idempotency_key="k")


async def planning_async(urls: list[str]) -> s.RunPlan:
    found: s.Estimate = await s.aestimate(s.JobCreationRequest(targets=urls))
    plans: list[s.RunPlan] = await s.aenqueue_many([urls], dry_run=True)
    print(found, plans)
    return await s.aenqueue(urls, dry_run=True)


def finding() -> list[s.RunStatus]:
    page: s.RunPage = s.list_runs(state="live", tag="shop:7", since=datetime.now(UTC), limit=10)
    s.list_runs(state=s.RunState.FAILED, label="prices", cursor=page.cursor)
    s.list_runs(state="endedd")  # type: ignore[arg-type]
    label: str | None = page.runs[0].label
    print(label, page.runs[0].tags, page.runs[0].hosts)
    return list(page.runs)


def acting_on_many() -> s.BulkReport:
    plan = s.retry_runs(state="ended", tag="shop:7", dry_run=True, trust_order=True, max_credits=5)
    cost: s.Estimate | None = plan.estimate
    group: s.RunGroup = plan.skipped[0]
    s.cancel_runs(state="endedd")  # type: ignore[arg-type]
    s.forget_runs(everything=True, until=plan.until, cursor=plan.cursor, limit=100)
    print(cost, group.reason, group.count, group.run_ids)
    return s.cancel_runs(label="prices", since=datetime.now(UTC))


async def finding_async() -> s.RunPage:
    return await s.alist_runs(until=datetime.now(UTC))


def limiting() -> list[s.Budget]:
    s.set_budget(5_000, "day")
    s.set_budget(None, s.BudgetPeriod.MONTH.value, tag="shop:7")
    s.set_budget(None, "month", account="7f")
    was_on: bool = s.stop_buying(tag="shop:7")
    print(was_on, s.resume_buying())
    return [one for one in s.list_budgets() if one.overrun or one.is_stopped]


def scheduling() -> str | None:
    was_on: bool = s.pause_schedule("prices", by="ann", note="sale", force=True)
    found: list[s.Schedule] = s.list_schedules()
    pause: s.SchedulePause | None = found[0].pause
    start: s.ScheduleStart = s.run_schedule("prices", idempotency_key="k")
    print(was_on, pause, s.resume_schedule("prices"), start.decision is s.TickDecision.QUEUED)
    return start.run_id


def refused_by_type_checkers(urls: list[str]) -> None:
    s.enqueue(urls, geocode="us")  # type: ignore[call-overload]
    s.enqueue(urls, dedupe="yes")  # type: ignore[call-overload]
    s.enqueue(urls, priority="high")  # type: ignore[call-overload]
    s.Target(7)  # type: ignore[arg-type]
    s.Target(urls[0], mete={})  # type: ignore[call-arg]
    s.enqueue(urls, max_wait="60")  # type: ignore[call-overload]
    s.enqueue(urls, output="html")  # type: ignore[call-overload]
    s.enqueue_many([urls], raise_on_task_fail=True)  # type: ignore[call-overload]
    s.enqueue_many([urls], timeout="60")  # type: ignore[call-overload]
    s.scheduled_run("prices", 60, urls, early="yes")  # type: ignore[arg-type]
    s.scheduled_run("prices", 60, urls, export={"format": "csv"})  # type: ignore[arg-type]
    s.scheduled_run("prices", 60, urls, if_run="skip")  # type: ignore[call-arg]


def refused_plugins() -> None:
    s.GoogleSearch([s.NewsParams(q="x")])  # type: ignore[list-item]
    s.SearchParams(q="x", geocod="us")  # type: ignore[call-arg]
    s.Plugin("new/key")  # type: ignore[call-arg]


async def reading(handle: s.RunHandle) -> list[bytes | None]:
    state: s.RunState = handle.state
    progress: s.Progress = handle.progress
    done: int = progress.done + progress.failed + progress.total
    job: s.JobDetails | None = handle.job
    jobs: list[s.JobDetails] = handle.jobs
    result: s.JobResult = handle.result(timeout=60)
    result = await handle.aresult(timeout=60)
    tasks: Iterator[s.TaskDetails] = handle.iter_tasks()
    canceled: bool = handle.cancel()
    report: s.ExportReport = handle.export(Path("pages.csv"), format="csv", content=False)
    report = handle.export(BytesIO(), format="jsonl", partial=report.rows > 0)
    options: s.ExportOptions = {"to": "s3://bucket/{run_id}/", "format": "parquet", "content": False}
    exported: s.ExportStatus | None = s.enqueue(["https://a.example/"], export=options).status.export
    if exported is not None and exported.state is s.ExportState.FAILED:
        print(exported.fault is s.ExportFault.EXISTS, exported.error, exported.to, exported.rows)
    duration: timedelta | None = result.job.duration
    print(state.is_outcome, done, job, jobs, canceled, duration, result.order_verified)
    return [task.decoded_content() for task in tasks]


def reading_pages(task: s.TaskDetails) -> list[bytes]:
    text: str | None = task.text
    url: str | None = task.resolved_url
    left: float | None = task.remaining_credits
    status: int | None = task.initial_status_code
    rendered: s.RenderedPage | None = task.rendered
    frames: tuple[s.PageFrame, ...] = task.frames
    network: s.NetworkLog = task.network
    results: tuple[s.ActionResult, ...] = task.action_results
    search = s.GoogleSearchResults.from_task(task)
    overview: s.AIOverview | None = search.ai_overview
    try:
        print(text, url, left, status, rendered, frames, network.requests[0].url, results, overview)
        print(task.json_content(), search.organic_results[0].link)
    except s.UnreadableContentError as error:
        print(error.task_id, error.job_id, error.expected, error.reason)
    return [shot.image for shot in task.screenshots]


def failing(handle: s.RunHandle) -> str:
    try:
        handle.result()
    except (s.JobFailedError, s.JobCanceledError) as error:
        return f"{error.job} {error.run_id}"
    except (s.TaskFailedError, s.TaskCanceledError) as error:
        return error.task.url
    except s.RunTimeoutError as error:
        return f"{error.run_id} {error.max_wait} {error.job}"
    except s.SubmitInDoubtError as error:
        return f"{error.targets} {error.intent}"
    except s.IdempotencyConflictError as error:
        return ", ".join(error.fields)
    except s.ResultNotReadyError as error:
        return error.run_id
    except s.AsyncAPIRateLimitError as error:
        return f"{error.status_code} {error.retry_after}"
    except s.ScrapeDoError as error:
        return str(error.to_json())
    return ""


def calling() -> s.JobResult:
    strategy = s.PollingStrategy(initial_interval=1, max_interval=30, max_wait=None)
    with s.ScrapeDoAsyncAPIClient("token", strategy=strategy) as client:
        created: s.JobCreationResponse = client.create_job(targets=["https://a.example/"])
        listed: s.JobsListResponse = client.list_jobs(page_size=100)
        me: s.UserInformation = client.get_user_info()
        canceled: s.CancelJobResponse = client.cancel_job(created.job_id)
        print(listed.total_count, me.available_credits, canceled.canceled, list(client.iter_jobs()))
        return client.submit_and_wait(targets=["https://a.example/"])


async def calling_async() -> s.TaskDetails:
    async with s.AsyncScrapeDoAsyncAPIClient("token") as client:
        job: s.JobDetails = await client.wait_for_job("job")
        job.raise_for_status()
        summary: s.UndetailedTaskResponse = job.tasks[0]
        return await client.get_task(job.job_id, summary.task_id)
