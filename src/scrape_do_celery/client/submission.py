"""The client that sends jobs whose body is ready before their intent is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.client.asynchronous import AsyncScrapeDoAsyncAPIClient
from scrape_do_celery.local_variables import without_locals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrape_do_celery.client.endpoints import Endpoint
    from scrape_do_celery.models import JobCreationResponse


class SubmitClient(AsyncScrapeDoAsyncAPIClient):
    """A client that buys jobs of records. The request of a record was checked when it came, and is sent as it is."""

    @without_locals
    async def post_job(
        self,
        job: Endpoint[JobCreationResponse],
        *,
        before_send: Callable[[], Awaitable[None]],
        timeout: float,  # noqa: ASYNC109 (the deadline of the HTTP request, as in the other methods)
    ) -> JobCreationResponse:
        """Buy a job, as `create_job` does. `job` is what `endpoints.create_job` makes of the request."""
        return await self._call_endpoint(job, timeout, before_send)
