from __future__ import annotations

import asyncio
import inspect
import socket
import threading
from types import SimpleNamespace

import httpx
import pytest

from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient, ScrapeDoAsyncAPIClient

TOKEN = "tok-5ecret/value"


class World:
    """A sync or async client, its clock, and the requests and answers of its transport."""

    token = TOKEN

    def __init__(self, colour):
        self.colour = colour
        self.now = 1_000.0
        self.sleeps = []
        self.requests = []
        self.answers = []
        self.heard = []

    def answer(self, request):
        self.requests.append(request)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        found = found(request) if callable(found) and not isinstance(found, type) else found
        if isinstance(found, type) and issubclass(found, Exception):
            raise found("transport broke")
        status, body, headers = (*found, None, {})[:3] if len(found) == 2 else found
        content = {"json": body} if isinstance(body, dict) else {"content": body or b""}
        return httpx.Response(status, headers=headers, **content)

    def run(self, use, *, mock=True, **options):
        """Return the result of `use(client)`. If the result is an iterator, return a list of its items."""
        options = {"random": lambda: 0.0, "clock": lambda: self.now, **options}
        if mock:
            options["transport"] = httpx.MockTransport(self.answer)
        return self._blocking(use, options) if self.colour == "sync" else asyncio.run(self._asyncio(use, options))

    def _blocking(self, use, options):
        with ScrapeDoAsyncAPIClient(TOKEN, sleep=self._tick, **options) as client:
            made = use(client)
            return list(made) if inspect.isgenerator(made) else made

    async def _asyncio(self, use, options):
        async def sleep(seconds):
            self._tick(seconds)

        async with AsyncScrapeDoAsyncAPIClient(TOKEN, sleep=sleep, **options) as client:
            made = use(client)
            return [one async for one in made] if inspect.isasyncgen(made) else await made

    def hook(self, function):
        """Return `function` as a `before_send` hook of this client."""

        async def hook():
            function()

        return function if self.colour == "sync" else hook

    def _tick(self, seconds):
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture(params=["sync", "async"])
def world(request):
    return World(request.param)


@pytest.fixture
def serve():
    """Return a function that starts a TCP server. Each connection has a thread with `handler(connection, server)`."""
    servers = []

    def start(handler):
        listener = socket.create_server(("127.0.0.1", 0))
        server = SimpleNamespace(
            url=f"http://127.0.0.1:{listener.getsockname()[1]}", accepted=threading.Event(), received=[], threads=[]
        )

        def talk(connection):
            with connection:
                connection.settimeout(10)
                handler(connection, server)

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                server.threads.append(threading.Thread(target=talk, args=(connection,)))
                server.threads[-1].start()
                server.accepted.set()

        def finish():
            assert server.accepted.wait(10)
            for one in server.threads:
                one.join(10)

        server.finish = finish
        thread = threading.Thread(target=accept)
        thread.start()
        servers.append((listener, thread, server))
        return server

    yield start
    for listener, thread, server in servers:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for one in [thread, *server.threads]:
            one.join(10)
