"""The demo inside docker compose, where its parts are services that run already."""

from __future__ import annotations

import sys
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING

from scrape_do_celery import Settings

if TYPE_CHECKING:
    from celery.result import AsyncResult

_TIMEOUT = 5.0
#: Pages that the sandbox makes up, one of them as a site answers where it has none.
URLS = [
    "https://books.example/",
    "https://books.example/catalogue",
    "https://books.example/opening-hours",
    "https://books.example/no-such-page?status=404",
    "https://books.example/logo.png?binary=1&size=69",
]


class Services:
    """What the story asks of its parts. Compose watches over them."""

    live = False
    site = "https://books.example"
    #: The sandbox fetches what is on its own machine, where nobody listens on this port.
    refused = "http://127.0.0.1:9/"

    def check(self) -> None:
        """Nothing: a worker that ended is started again."""

    def forget_later(self, *results: AsyncResult) -> None:
        """Nothing: what the server holds goes by itself."""


def main() -> int:
    """The exit code: 0, 1 where something failed, 2 where it may not begin."""
    url = Settings().api_url
    if not is_sandbox(url):
        sys.stderr.write(f"There is no sandbox at {url}, and the demo uses no other service. Nothing was bought.\n")
        return 2
    # Loaded where it is used: a refusal should not take its time.
    from examples.demo.parts import DemoError
    from examples.demo.story import tell
    from scrape_do_celery import ScrapeDoError

    try:
        tell(Services(), URLS)
    except (DemoError, ScrapeDoError, OSError) as error:
        sys.stderr.write(f"\nThe demo failed: {type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write("\nDone. The worker goes on; Flower shows what it did, and has printed its password.\n")
    return 0


def is_sandbox(url: str) -> bool:
    """Whether the API there is a sandbox, which tells of itself; the real one has no such address."""
    try:
        with urllib.request.urlopen(f"{url}/_sandbox/stats", timeout=_TIMEOUT):  # noqa: S310 (the API of the settings)
            return True
    except (OSError, HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(main())
