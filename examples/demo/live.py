"""Check the URLs, and ask the user before anything is bought."""

from __future__ import annotations

import os
import sys

from pydantic import ValidationError

from scrape_do_celery import JobCreationRequest

PAGES = ("https://example.com/", "https://example.org/", "https://example.net/")


def fault(urls: list[str]) -> str:
    """Return why these URLs cannot be sent, or an empty text if they can."""
    try:
        JobCreationRequest(targets=urls)
    except ValidationError as error:
        return f"URLS cannot be sent: {error.errors()[0]['msg'].removeprefix('Value error, ')}."
    return ""


def ask(urls: list[str]) -> str:
    """Return why the real service must not be used, or an empty text if the user has agreed."""
    request = JobCreationRequest(targets=urls)
    if not os.environ.get("SCRAPE_DO_API_KEY", "").strip():
        return "LIVE=1 needs your Scrape.do token in SCRAPE_DO_API_KEY. Nothing was bought."
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "LIVE=1 asks before it spends credits, but stdin is not a terminal. Nothing was bought."
    where = os.environ.get("SCRAPE_DO_API_URL", "https://q.scrape.do")
    sys.stdout.write(f"The demo sends {request.size} URLs to {where}:\n")
    sys.stdout.writelines(f"  {url}\n" for url in urls)
    sys.stdout.write(
        f"The job costs {request.estimated_credits()} credits or more; pages of some domains cost more than one "
        "credit.\n"
    )
    sys.stdout.write("Go on? [y/N] ")
    sys.stdout.flush()
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    return "" if answer.strip().lower() in {"y", "yes"} else "Nothing was bought."
