"""The servers of one harness: the store and the broker, each with its own server, and the sandbox."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from scrape_do_celery import Settings, embedded
from scrape_do_celery.runs import AppContext
from scrape_do_sandbox import SandboxProcess
from tests.faults.timings import SETTINGS, times_shortened

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "lab"


class Servers:
    """The servers that workers talk to, and the producer's side of them."""

    def __init__(self, folder: Path, *, fsync: str = "always", **settings: Any) -> None:
        self._folder, self._fsync, self._settings = folder, fsync, settings
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Servers end with the thread that starts them, so the main thread starts all of them.
            self.store = stack.enter_context(
                embedded.ensure(self._folder / "store", tie_to_parent=True, appendfsync=self._fsync)
            )
            self.broker = stack.enter_context(
                embedded.ensure(self._folder / "broker", tie_to_parent=True, appendfsync="no")
            )
            self.sandbox = stack.enter_context(SandboxProcess(task_seconds=0.15))
            self.values = {
                "redis_url": self.store.url,
                "broker_url": self.broker.url,
                "result_backend": self.broker.url.removesuffix("/0") + "/2",
                "api_url": self.sandbox.url,
                "api_key": "token-of-the-lab",
                "key_prefix": PREFIX,
                "queue": PREFIX,
                **SETTINGS,
                **self._settings,
            }
            stack.enter_context(times_shortened())
            self.settings = Settings(**self.values)
            self.app_context = AppContext.for_app(settings=self.settings)
            stack.callback(self.app_context.store.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def environment(self, folder: Path, **more: str) -> dict[str, str]:
        """Return the environment of a worker of this lab."""
        given = {f"SCRAPE_DO_{name.upper()}": str(value) for name, value in self.values.items()}
        return {**given, "LAB_FOLDER": str(folder), **more}
