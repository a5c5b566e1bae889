"""The blocking and the asyncio driver of one call: connect, keep the deadline, wait, and resend if the rules allow it.

The drivers use httpx's transports, not its client. The client would follow redirects, keep cookies and read the
environment, which must not happen. The client also costs a fifth of a fetch.
"""

from __future__ import annotations

import asyncio
import random as _random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpx
from tenacity import AsyncRetrying, Retrying

from scrape_do_celery.client.attempt import NO_TRACE, precedes_first_byte
from scrape_do_celery.client.base import BaseClient, check_timeout
from scrape_do_celery.client.bodies import MAX_PAGE_BYTES
from scrape_do_celery.client.routes import OWN_TRANSPORT, read_route
from scrape_do_celery.client.transports import DeadlineTransport, SubmitTransport
from scrape_do_celery.local_variables import without_locals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Self

    from pydantic import SecretStr

    from scrape_do_celery.client import endpoints
    from scrape_do_celery.client.attempt import Attempt
    from scrape_do_celery.rules.polling import Poller

T = TypeVar("T")


class BlockingDriver(BaseClient):
    """A driver that sends from threads."""

    @without_locals
    def __init__(  # noqa: PLR0913 (the settings of a client)
        self,
        api_key: str | SecretStr | None = None,
        *,
        base_url: str | None = None,
        timeout: float = 60.0,
        max_retries: int = 3,
        strategy: Poller | None = None,
        concurrency: int = 10,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = _random.random,
        clock: Callable[[], float] = time.monotonic,
        on_response: Callable[[int, Mapping[str, str]], None] | None = None,
        max_page_bytes: int = MAX_PAGE_BYTES,
        on_default: Callable[[str, str], None] | None = None,
        proxy: str | SecretStr | None = None,
        ca_file: str | None = None,
    ) -> None:
        super().__init__(
            api_key,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            strategy=strategy,
            concurrency=concurrency,
            random=random,
            clock=clock,
            on_response=on_response,
            max_page_bytes=max_page_bytes,
            on_default=on_default,
        )
        self._sleep = sleep
        if transport is not None and (proxy or ca_file):
            raise ValueError(OWN_TRANSPORT)
        self._traced = transport is None or isinstance(transport, httpx.HTTPTransport)
        self._http = transport or DeadlineTransport(self._connection_limits(), read_route(proxy, ca_file))
        self._proxy_place = getattr(self._http, "proxy_place", "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    @without_locals
    def _call_endpoint(
        self, endpoint: endpoints.Endpoint[T], limit: float | None, before_send: Callable[[], None] | None = None
    ) -> T:
        attempt = self._new_attempt(endpoint)
        limit = self._timeout if limit is None else check_timeout(limit)
        if not self._retries:
            return self._run_attempt(attempt, limit, before_send)
        answer: T = Retrying(sleep=self._sleep, **attempt.resend_policy())(
            self._run_attempt, attempt, limit, before_send
        )
        return answer

    def _run_attempt(self, attempt: Attempt[T], limit: float, before_send: Callable[[], None] | None) -> T:
        def on_trace_event(event: str, details: Any = None) -> None:
            if precedes_first_byte(event, details):
                with attempt.before_first_byte():
                    if before_send:
                        before_send()

        request = self._build_request(attempt.endpoint, limit, on_trace_event)
        began = self._clock()
        attempt.start_attempt()
        try:
            if not self._traced:
                on_trace_event(NO_TRACE)
            response = self._http.handle_request(request)
            intake, stream = self._open_intake(attempt.endpoint, response)
            try:
                for chunk in cast("httpx.SyncByteStream", stream):
                    for _ in intake.take_chunk(chunk):
                        pass
                    if not intake.wants_more:
                        break
            finally:
                # The whole answer may have arrived: an error while the response closes must not lose a paid job.
                with suppress(Exception):
                    response.close()
            received = intake.finish_body()
        except Exception as error:  # noqa: BLE001
            # Catch every error of a transport: after the first byte, no error proves that no job was bought.
            self._log_silence(attempt.endpoint, error, began)
            attempt.raise_failure(error)
        self._report_answer(attempt.endpoint, response, began)
        with self._report_defaults():
            return attempt.read_answer(response.status_code, response.headers, received)


class AsyncioDriver(BaseClient):
    """A driver that sends from one event loop."""

    @without_locals
    def __init__(  # noqa: PLR0913 (the settings of a client)
        self,
        api_key: str | SecretStr | None = None,
        *,
        base_url: str | None = None,
        timeout: float = 60.0,
        max_retries: int = 3,
        strategy: Poller | None = None,
        concurrency: int = 10,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = _random.random,
        clock: Callable[[], float] = time.monotonic,
        on_response: Callable[[int, Mapping[str, str]], None] | None = None,
        max_page_bytes: int = MAX_PAGE_BYTES,
        on_default: Callable[[str, str], None] | None = None,
        proxy: str | SecretStr | None = None,
        ca_file: str | None = None,
        large_page: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(
            api_key,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            strategy=strategy,
            concurrency=concurrency,
            random=random,
            clock=clock,
            on_response=on_response,
            max_page_bytes=max_page_bytes,
            on_default=on_default,
        )
        self._sleep, self._large_page = sleep, large_page
        if transport is not None and (proxy or ca_file):
            raise ValueError(OWN_TRANSPORT)
        self._traced = transport is None or isinstance(transport, httpx.AsyncHTTPTransport)
        self._http = transport or SubmitTransport(self._connection_limits(), read_route(proxy, ca_file))
        self._proxy_place = getattr(self._http, "proxy_place", "")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    @without_locals
    async def _call_endpoint(
        self,
        endpoint: endpoints.Endpoint[T],
        limit: float | None,
        before_send: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        attempt = self._new_attempt(endpoint)
        limit = self._timeout if limit is None else check_timeout(limit)
        if not self._retries:
            return await self._run_attempt(attempt, limit, before_send)
        again = AsyncRetrying(sleep=self._sleep, **attempt.resend_policy())
        return await again(self._run_attempt, attempt, limit, before_send)

    async def _run_attempt(
        self, attempt: Attempt[T], limit: float, before_send: Callable[[], Awaitable[None]] | None
    ) -> T:
        async def on_trace_event(event: str, details: Any = None) -> None:
            if precedes_first_byte(event, details):
                with attempt.before_first_byte():
                    if before_send:
                        await before_send()

        request = self._build_request(attempt.endpoint, limit, on_trace_event)
        began = self._clock()
        attempt.start_attempt()
        try:
            async with asyncio.timeout(limit) as deadline:
                if not self._traced:
                    await on_trace_event(NO_TRACE)
                response = await self._http.handle_async_request(request)
                intake, stream = self._open_intake(attempt.endpoint, response)
                try:
                    async for chunk in cast("httpx.AsyncByteStream", stream):
                        for _ in intake.take_chunk(chunk):
                            await self._wait_for_room(deadline)
                        if not intake.wants_more:
                            break
                finally:
                    with suppress(Exception):
                        await response.aclose()
                received = intake.finish_body()
        except Exception as error:  # noqa: BLE001
            self._log_silence(attempt.endpoint, error, began)
            attempt.raise_failure(error)
        self._report_answer(attempt.endpoint, response, began)
        with self._report_defaults():
            return attempt.read_answer(response.status_code, response.headers, received)

    async def _wait_for_room(self, deadline: asyncio.Timeout) -> None:
        """Wait for `large_page` before a large answer is read. The deadline stops: the peer has answered in time."""
        when = deadline.when()
        if self._large_page is None or when is None:
            return
        clock = asyncio.get_running_loop().time
        left = when - clock()
        deadline.reschedule(None)
        await self._large_page()
        deadline.reschedule(clock() + left)
