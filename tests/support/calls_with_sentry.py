"""A web process with Sentry's SDK: each call fails, and the SDK captures the error. Secrets are in the environment."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress

import sentry_sdk
from pydantic import SecretStr
from sentry_events import record_events

from scrape_do_celery import (
    AsyncScrapeDoAsyncAPIClient,
    JobCreationRequest,
    ScrapeDoAsyncAPIClient,
    Settings,
    aenqueue,
    aenqueue_many,
    enqueue,
    enqueue_many,
)
from scrape_do_celery.tasks import scrape

URL = "https://a.example/"
DOWN = {"redis_url": f"redis://:{os.environ['REDIS_PASSWORD']}@127.0.0.1:9/0"}


def fields():
    """Return the options of a request that hold secrets."""
    return {
        "method": "POST",
        "headers": {
            "Authorization": f"Bearer {os.environ['HEADER']}",
            "Cookie": f"session={os.environ['COOKIE']}",
        },
        "body": os.environ["BODY"],
        "webhook_url": f"https://hook.example/{os.environ['HOOK']}",
        "webhook_headers": {"X-Hook": os.environ["HOOK"]},
    }


def client(**options):
    """Return a client that reaches no API."""
    options.setdefault("proxy", SecretStr(f"http://user:{os.environ['PROXY_PASSWORD']}@127.0.0.1:9"))
    return ScrapeDoAsyncAPIClient(
        SecretStr(os.environ["TOKEN"]), base_url="https://127.0.0.1:9", max_retries=1, **options
    )


async def submit_async():
    """Buy by the other client."""
    async with AsyncScrapeDoAsyncAPIClient(os.environ["TOKEN"], base_url="https://127.0.0.1:9", max_retries=0) as one:
        await one.submit_and_wait(targets=[URL], **fields())


def raise_beside_objects():
    """Fail in the caller's own code, whose local variables are objects of this package."""
    request = JobCreationRequest(targets=[URL], **fields())
    settings = Settings(proxy=f"http://user:{os.environ['PROXY_PASSWORD']}@a.example", api_key=os.environ["TOKEN"])
    own = client()
    raise RuntimeError(f"a failure of the caller beside {type(request)}, {type(settings)} and {type(own)}")


CALLS = {
    "enqueue": lambda: enqueue([URL], **fields(), settings=Settings(**DOWN)),
    "enqueue_wrong": lambda: enqueue(["ftp://a"], **fields(), settings=Settings(**DOWN)),
    "enqueue_many": lambda: enqueue_many([[URL], [URL]], **fields(), settings=Settings(**DOWN)),
    "aenqueue": lambda: asyncio.run(aenqueue([URL], **fields(), settings=Settings(**DOWN))),
    "aenqueue_wrong": lambda: asyncio.run(aenqueue(["ftp://a"], **fields(), settings=Settings(**DOWN))),
    "aenqueue_many": lambda: asyncio.run(aenqueue_many([[URL], [URL]], **fields(), settings=Settings(**DOWN))),
    "scrape": lambda: scrape.delay(targets=[URL], **fields()),
    "client": lambda: client().create_job(targets=[URL], **fields()),
    "client_wrong": lambda: client().create_job(targets=[URL], **fields(), output="wrong"),
    "client_wait": lambda: client(proxy="").submit_and_wait(JobCreationRequest(targets=[URL], **fields())),
    "client_async": lambda: asyncio.run(submit_async()),
    "client_settings": lambda: ScrapeDoAsyncAPIClient(proxy=f"user:{os.environ['PROXY_PASSWORD']}@proxy"),
    "settings": lambda: Settings(proxy=f"user:{os.environ['PROXY_PASSWORD']}@proxy", credentials=os.environ["HEADER"]),
    "objects": raise_beside_objects,
}


if __name__ == "__main__":
    record_events(sys.argv[1])
    with suppress(KeyError):
        os.environ["SCRAPE_DO_REDIS_URL"] = DOWN["redis_url"]
    for name, call in CALLS.items():
        try:
            call()
        except Exception:  # noqa: BLE001 (as an error tracker does)
            sentry_sdk.capture_exception()
            sys.stdout.write(f"{name}\n")
    sentry_sdk.flush()
