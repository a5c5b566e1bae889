"""The demo inside docker compose, where services that already run are its parts."""

from __future__ import annotations

import sys
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING

from scrape_do_celery import Settings

if TYPE_CHECKING:
    from celery.result import AsyncResult

_TIMEOUT = 5.0
#: Pages that the sandbox makes up; one is the answer of a site to the URL of a missing page.
URLS = [
    "https://books.example/",
    "https://books.example/catalogue",
    "https://books.example/opening-hours",
    "https://books.example/no-such-page?status=404",
    "https://books.example/logo.png?binary=1&size=69",
]


class Services:
    """The parts of the story as services, which Compose supervises."""

    live = False
    site = "https://books.example"
    #: The sandbox fetches loopback targets from its own machine, where no server listens on this port.
    refused = "http://127.0.0.1:9/"

    def check(self) -> None:
        """Do nothing, because Compose restarts a worker that has ended."""

    def forget_later(self, *results: AsyncResult) -> None:
        """Do nothing, because the server's results expire."""


def main() -> int:
    """Return the exit code: 0, 1 if something failed, 2 if the demo must not start."""
    url = Settings().api_url
    if not is_sandbox(url):
        sys.stderr.write(f"No sandbox answers at {url}, and the demo uses no other service. Nothing was bought.\n")
        return 2
    # Imported here, so that a refusal is fast.
    from examples.demo.parts import DemoError
    from examples.demo.story import tell
    from scrape_do_celery import ScrapeDoError

    try:
        tell(Services(), URLS)
    except (DemoError, ScrapeDoError, OSError) as error:
        sys.stderr.write(f"\nThe demo failed: {type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(
        "\nDone. The worker keeps running. Flower shows its tasks, and has printed its password in the log.\n"
    )
    return 0


def is_sandbox(url: str) -> bool:
    """Tell whether the API is a sandbox; the real API does not have this path."""
    try:
        with urllib.request.urlopen(f"{url}/_sandbox/stats", timeout=_TIMEOUT):  # noqa: S310 (the API of the settings)
            return True
    except (OSError, HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(main())
