"""The servers of one harness: the store, the broker, the sandbox, and receivers of webhooks with a forger."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from scrape_do_celery import Settings, embedded
from scrape_do_celery.runs import AppContext
from scrape_do_sandbox import SandboxProcess
from tests.faults.forger import start_forger
from tests.faults.receivers import Receivers
from tests.faults.timings import SETTINGS, times_shortened

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "lab"


class Servers:
    """The servers that workers talk to, and the producer's side of them.

    With `webhooks`, which says how far deliveries are trusted, there are receivers of webhooks and a forger.
    """

    def __init__(
        self, folder: Path, *, fsync: str = "always", webhooks: str = "", mutant: str = "", **settings: Any
    ) -> None:
        self._mutant = mutant
        self._folder, self._fsync, self.webhooks, self._settings = folder, fsync, webhooks, settings
        self.receivers: Receivers | None = None
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
            if self.webhooks:
                self.receivers = stack.enter_context(Receivers(self._folder, random.Random(0)))
                self.values |= self.receivers.settings(self.webhooks)
            stack.enter_context(times_shortened())
            self.settings = Settings(**self.values)
            self.app_context = AppContext.for_app(settings=self.settings)
            stack.callback(self.app_context.store.close)
            if self.receivers:
                self.receivers.start(self.environment(self._folder))
                stack.enter_context(start_forger(self.sandbox.url, self._forgeries))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def _forgeries(self) -> Path:
        return self._folder / "forgeries.json"

    def count_webhooks(self) -> Counter[str]:
        """Return what has happened to webhooks: calls of the sandbox, forged calls by their answers, and kills."""
        if self.receivers is None:
            return Counter()
        stats = self.sandbox.stats()
        counts = Counter({name.replace("_", " "): stats[name] for name in stats if name.startswith("webhooks_")})
        counts["kills of receivers"] = self.receivers.kills
        if self._forgeries.exists():
            forged = json.loads(self._forgeries.read_text())
            counts.update({f"forged delivery with {kind}": times for kind, times in forged.items()})
        return counts

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the environment of a worker or a receiver of this lab."""
        given = {f"SCRAPE_DO_{name.upper()}": str(value) for name, value in self.values.items()}
        return {**given, "LAB_FOLDER": str(folder), "LAB_MUTANT": self._mutant}
