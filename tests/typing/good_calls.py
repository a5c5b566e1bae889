"""Call the functions that buy, in every form that type checkers must take; never run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import scrape_do_celery as s
from scrape_do_celery.models import JobFields, PluginFields, RenderFields, RequestFields

if TYPE_CHECKING:
    from scrape_do.async_api import models as peer
    from scrape_do.models.browser_actions import WaitAction

URLS = ["https://a.example/"]
DAY = date(2027, 2, 28)


def acting() -> list[s.BrowserAction]:
    return [
        s.Click("#more"),
        s.Wait(2000),
        s.WaitSelector("#x"),
        s.WaitSelector("#x", timeout=500),
        s.ScrollX(100),
        s.ScrollY(-100),
        s.ScrollTo("#x"),
        s.Fill("#q", "text"),
        s.Execute("js()"),
        s.ScreenShot(),
        s.ScreenShot(full=True),
        s.ScreenShot(particular="#x"),
        s.WaitForRequestCompletion("*.json", 1000),
        s.Click("#more", extra={"Button": 2}),
    ]


def rendering() -> s.RenderOptions:
    s.Render()
    s.Render(actions=acting())
    s.Render(actions=[s.Click("#more"), {"Action": "Wait", "Timeout": 5}])
    s.Render(play_with_browser=[{"Action": "Wait", "Timeout": 5}], wait_until="load", custom_wait=None)
    s.RenderOptions(return_json=True, full_screenshot=True, extra={"Width": 1920})
    return s.Render(actions=(s.Wait(1), s.Wait(2)))


def requesting(targets: Iterable[str]) -> s.JobCreationRequest:
    s.JobCreationRequest(targets=URLS)
    s.JobCreationRequest(targets=targets, render=rendering(), timeout=60_000, extra={"New": [1]})
    s.JobCreationRequest(plugin={"key": "google/search", "params": [{"q": "x"}]}, geo_code="us")
    return s.JobCreationRequest(targets=URLS, render={"wait_until": "load", "actions": acting()}, headers={"A": "b"})


def starting(targets: Iterable[str], key: str | None) -> None:
    s.enqueue(URLS)
    s.enqueue(targets, geo_code="us", super=True, device="mobile", method="POST", body="{}", session_id=7)
    s.enqueue(URLS, render=s.Render(actions=[s.Click("#more"), s.Wait(2000)]), idempotency_key=key)
    s.enqueue(URLS, render={"wait_until": "networkidle2", "actions": [{"Action": "Click", "Selector": "#x"}]})
    s.enqueue(plugin={"key": "google/search", "params": [{"q": "x"}]}, max_wait=60, early=True)
    s.enqueue(plugin=s.GoogleSearch([s.SearchParams(q="x", device="mobile", extra={"udm": 50}), {"q": "y"}]))
    s.enqueue(plugin=s.TripSearch({"departCity": city} for city in ("LON", "BER")))
    s.enqueue(plugin={"key": "google/search", "params": [s.SearchParams(q="x")]})
    s.enqueue(plugin=s.Plugin("new/key", [{"q": "y"}]))
    s.enqueue(
        plugin=s.GoogleHotels([s.HotelsParams(q="x", check_in_date=date(2027, 2, 28), check_out_date="2027-03-01")])
    )
    s.retry_failed("run", trust_order=True, max_credits=5, tags=["shop:7"]).merged(partial=True)
    s.enqueue(requesting(URLS), raise_on_task_failure=True, max_wait=None)
    s.enqueue_many([URLS, requesting(URLS)], timeout=60_000, retry_timeout=20_000, output="markdown")
    s.enqueue_many((URLS for _ in range(5)), idempotency_keys=[None], regional_geo_code="europe", extra={"New": 1})
    s.scheduled_run("prices", 60, URLS, credentials="shop", render={"return_json": True}, if_running="queue")


def coming_from_the_peer(
    request: peer.JobCreationRequest,
    render: peer.RenderParameters,
    search: peer.GoogleSearchAsyncPlugin,
    wait: WaitAction,
) -> None:
    s.Render(actions=[wait, s.Wait(5), {"Action": "Wait", "Timeout": 5}])
    s.Render(play_with_browser=[wait])
    s.JobCreationRequest(targets=URLS, render=render)
    s.JobCreationRequest(plugin=search)
    s.Plugin("google/search", search.params)
    s.GoogleSearch(search.params)
    s.enqueue(request)
    s.enqueue(URLS, render=render)
    s.enqueue(URLS, render={"actions": [wait]})
    s.enqueue(plugin=search)
    s.enqueue(plugin={"key": "google/search", "params": search.params})
    s.enqueue_many([request, URLS, requesting(URLS)])
    s.scheduled_run("prices", 60, plugin=search)
    with s.ScrapeDoAsyncAPIClient("token") as client:
        client.create_job(request)
        client.create_job(plugin=search)
        client.submit_and_wait(request)


async def coming_from_the_peer_to_async(request: peer.JobCreationRequest) -> None:
    await s.aenqueue(request)
    await s.aenqueue_many([request])
    async with s.AsyncScrapeDoAsyncAPIClient("token") as client:
        await client.create_job(request)
        await client.submit_and_wait(request)


def starting_with_dicts(fields: RequestFields, options: dict[str, Any]) -> None:
    render: RenderFields = {"screenshot": True, "return_json": True}
    plugin: PluginFields = {"key": "google/search", "params": [{"q": "x"}]}
    s.enqueue(URLS, **fields).cancel()
    s.estimate(URLS, **fields)
    s.enqueue(URLS, dry_run=True, **fields).to_json()
    s.enqueue(URLS, **options).cancel()
    s.enqueue(URLS, render=render)
    s.enqueue(plugin=plugin)


async def starting_from_async(targets: Iterable[str]) -> None:
    await s.aenqueue(targets, render={"actions": acting()}, webhook_url="https://hooks.example/", webhook_headers={})
    await s.aenqueue_many([URLS, requesting(URLS)], set_cookies="a=1", disable_retry=True)


def buying(fields: JobFields) -> None:
    with s.ScrapeDoAsyncAPIClient("token") as client:
        client.create_job(requesting(URLS), timeout=5.5)
        client.create_job(targets=URLS, render=rendering(), super=True, timeout=5.5)
        client.create_job(**fields)
        client.submit_and_wait(plugin={"key": "k", "params": [{}]}, geo_code=None)
        client.list_jobs(status="success", start_from=datetime.now(UTC), start_to="2026-11-22", sort="start_time_asc")
        list(client.iter_jobs(status=s.JobStatus.ERROR, page=2))


async def buying_from_async() -> None:
    async with s.AsyncScrapeDoAsyncAPIClient("token") as client:
        await client.create_job(targets=URLS, render={"actions": acting()})
        await client.submit_and_wait(targets=URLS, output="raw", transparent_response=True)
        await client.list_jobs(page_size=100, start_from="2026-11-22T09:14:03Z")


def failing(error: s.AsyncAPIResponseError) -> tuple[str | None, int | None]:
    info = error.error_info
    return (info.error, info.code) if info else (None, None)
