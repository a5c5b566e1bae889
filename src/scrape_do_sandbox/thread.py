from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self

from scrape_do_sandbox.control_client import SandboxControl
from scrape_do_sandbox.options import Options
from scrape_do_sandbox.server import Server

if TYPE_CHECKING:
    from types import TracebackType


class SandboxThread(SandboxControl):
    """A sandbox on a thread of this process, for tests; starts fast, and has the controls of `SandboxProcess`."""

    def __init__(self, **options: Any) -> None:
        self._server = Server(Options.model_validate(options))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scrape-do-sandbox", daemon=True)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        await self._server.start()
        self.url = self._server.url
        self._ready.set()
        await self._over.wait()
        await self._server.stop()

    def stop(self) -> None:
        """Stop the sandbox and wait for its end."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
