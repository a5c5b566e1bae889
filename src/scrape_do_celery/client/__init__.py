"""The protocol of the Async API: rules without I/O, and two thin clients that obey the rules."""

from __future__ import annotations

from scrape_do_celery.client.asynchronous import AsyncScrapeDoAsyncAPIClient
from scrape_do_celery.client.endpoints import Endpoint
from scrape_do_celery.client.job_filters import JobFilters
from scrape_do_celery.client.responses import parse_response, retry_after
from scrape_do_celery.client.results import build_result, gone_task
from scrape_do_celery.client.sync import ScrapeDoAsyncAPIClient
from scrape_do_celery.rules.submit import SubmitFailure, classify_submit_error, may_resend, resend_delay

__all__ = [
    "AsyncScrapeDoAsyncAPIClient",
    "Endpoint",
    "JobFilters",
    "ScrapeDoAsyncAPIClient",
    "SubmitFailure",
    "build_result",
    "classify_submit_error",
    "gone_task",
    "may_resend",
    "parse_response",
    "resend_delay",
    "retry_after",
]
