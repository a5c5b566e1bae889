"""Call the functions that buy with wrong names and types; never run.

A type checker must refuse each line of a function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import scrape_do_celery as s
from scrape_do_celery import AsyncScrapeDoAsyncAPIClient, ScrapeDoAsyncAPIClient

if TYPE_CHECKING:
    from scrape_do.async_api import models as peer
    from scrape_do.models.browser_actions import ClickAction

URLS = ["https://a.example/"]


def act() -> None:
    s.Click()
    s.Click(5)
    s.Click("#a", "#b")
    s.Click("#a", timeout=5)
    s.Click("#a", extra=5)
    s.Wait("soon")
    s.Wait(None)
    s.WaitSelector("#a", timeout="5")
    s.ScrollX("down")
    s.ScrollY()
    s.ScrollTo(100)
    s.Fill("#q")
    s.Fill("#q", 5)
    s.Execute(None)
    s.ScreenShot("#x")
    s.ScreenShot(full="yes")
    s.ScreenShot(fullScreenShot=True)
    s.WaitForRequestCompletion("*.json")
    s.WaitForRequestCompletion("*.json", "1000")


def render() -> None:
    s.Render([s.Click("#a")])
    s.Render(actions=s.Click("#a"))
    s.Render(actions=[5])
    s.Render(action=[s.Click("#a")])
    s.Render(wait_until="loaded")
    s.Render(custom_wait="5")
    s.Render(width=5)


def request() -> None:
    s.JobCreationRequest(target=URLS)
    s.JobCreationRequest(targets=5)
    s.JobCreationRequest(targets=URLS, geocode="us")
    s.JobCreationRequest(targets=URLS, render=True)
    s.JobCreationRequest(targets=URLS, timeout="60")


def start() -> None:
    s.enqueue(5)
    s.enqueue(URLS, geo_cod="us")
    s.enqueue(URLS, geo_code=5)
    s.enqueue(URLS, super="yes")
    s.enqueue(URLS, method="get")
    s.enqueue(URLS, device="Desktop")
    s.enqueue(URLS, output="html")
    s.enqueue(URLS, regional_geo_code="antarctica")
    s.enqueue(URLS, session_id="7")
    s.enqueue(URLS, timeout="60")
    s.enqueue(URLS, headers={"a": 1})
    s.enqueue(URLS, headers=[("a", "b")])
    s.enqueue(URLS, body=b"{}")
    s.enqueue(URLS, extra=["New"])
    s.enqueue(URLS, render=True)
    s.enqueue(URLS, render={"wait_unti": "load"})
    s.enqueue(URLS, render={"wait_until": "loaded"})
    s.enqueue(URLS, render={"actions": [5]})
    s.enqueue(plugin="google/search")
    s.enqueue(plugin=s.GoogleSearch([s.NewsParams(q="x")]))
    s.enqueue(plugin=s.GoogleSearch(s.SearchParams(q="x")))
    s.enqueue(plugin=s.GoogleSearch([s.SearchParams(q="x", device="tv")]))
    s.enqueue(plugin=s.GoogleSearch([s.SearchParams(q="x", geocod="us")]))
    s.enqueue(plugin=s.GoogleSearch([s.SearchParams(q="x", start=["1"])]))
    s.enqueue(plugin=s.TripDetail([s.TripDetailParams(policy_id="x", country="gb")]))
    s.enqueue(plugin=s.GoogleHotels([s.HotelsParams(q="x", check_in_date=[1], check_out_date="2027-03-01")]))
    s.enqueue(plugin=s.Plugin("new/key"))
    s.enqueue(plugin={"key": "google/search"})
    s.enqueue(plugin={"key": "google/search", "param": [{}]})
    s.enqueue(plugin={"key": "google/search", "params": {"q": "x"}})
    s.enqueue(URLS, max_wait="60")
    s.enqueue(URLS, early="yes")
    s.enqueue(URLS, raise_on_task_fail=True)
    s.enqueue(URLS, idempotency_key=5)
    s.enqueue(URLS, dry_run="yes")
    s.enqueue(URLS, dry_run=True).result()
    print(s.enqueue(URLS, dry_run=False).estimate)
    s.estimate(URLS, idempotency_key="k")
    s.estimate(URLS, geo_cod="us")


def misplace(request: peer.JobCreationRequest, click: ClickAction) -> None:
    s.enqueue(s.GoogleSearch([s.SearchParams(q="x")]))
    s.enqueue(s.Render())
    s.enqueue(s.Target("https://a.example/"))
    s.enqueue(plugin=s.SearchParams(q="x"))
    s.enqueue(plugin=s.Render())
    s.enqueue(URLS, render=s.Click("#a"))
    s.enqueue(URLS, render=[s.Click("#a")])
    s.enqueue_many([s.GoogleSearch([s.SearchParams(q="x")])])
    s.Render(actions=[s.SearchParams(q="x")])
    s.Render(actions=click)
    s.GoogleSearch(request)
    s.Plugin("new/key", s.SearchParams(q="x"))


def start_many() -> None:
    s.enqueue_many([URLS], geo_cod="us")
    s.enqueue_many([URLS], timeout="60")
    s.enqueue_many([URLS], render={"custom_wait": "5"})
    s.enqueue_many([5])


def schedule() -> None:
    s.scheduled_run("prices", 60, URLS, geo_cod="us")
    s.scheduled_run("prices", 60, URLS, early="yes")
    s.scheduled_run("prices", 60, URLS, if_running="wait")
    s.scheduled_run("prices", 60, URLS, render={"wait_unti": "load"})


async def start_from_async() -> None:
    await s.aenqueue(URLS, geo_cod="us")
    await s.aenqueue(URLS, render={"wait_unti": "load"})
    await s.aenqueue_many([URLS], geo_cod="us")
    await s.aenqueue_many([URLS], session_id="7")


def buy(client: ScrapeDoAsyncAPIClient) -> None:
    client.create_job(targets=URLS, geo_cod="us")
    client.create_job(targets=URLS, super="yes")
    client.create_job(targets=URLS, timeout="5")
    client.create_job(targets=URLS, render={"wait_unti": "load"})
    client.create_job(plugin={"key": "google/search"})
    client.submit_and_wait(targets=URLS, geo_cod="us")
    client.submit_and_wait(targets=URLS, device="watch")
    client.list_jobs(status="cancelled")
    client.list_jobs(statos="success")
    client.list_jobs(start_from=5)
    client.list_jobs(sort="up")
    client.iter_jobs(page="2")


async def buy_from_async(client: AsyncScrapeDoAsyncAPIClient) -> None:
    await client.create_job(targets=URLS, geo_cod="us")
    await client.create_job(targets=URLS, render={"wait_until": "loaded"})
    await client.submit_and_wait(targets=URLS, output="html")
    await client.list_jobs(status="cancelled")
    await client.list_jobs(statos="success")
