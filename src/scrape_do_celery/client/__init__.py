"""The Async API's protocol: rules without I/O, and two thin clients that obey them."""

from __future__ import annotations

from scrape_do_celery.client._async import AsyncScrapeDoAsyncAPIClient
from scrape_do_celery.client._sync import ScrapeDoAsyncAPIClient
from scrape_do_celery.client.answers import read, retry_after
from scrape_do_celery.client.calls import Call, JobFilters
from scrape_do_celery.client.collect import bundle, gone
from scrape_do_celery.client.fate import SubmitFailure, classify_submit_error, may_resend, resend_delay

__all__ = [
    "AsyncScrapeDoAsyncAPIClient",
    "Call",
    "JobFilters",
    "ScrapeDoAsyncAPIClient",
    "SubmitFailure",
    "bundle",
    "classify_submit_error",
    "gone",
    "may_resend",
    "read",
    "resend_delay",
    "retry_after",
]
