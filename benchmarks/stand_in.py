"""The API stand-in of all contenders: this package's sandbox, with pages that compress as real ones do.

`python -m benchmarks.stand_in` takes the options of `scrape-do sandbox`.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.pages import corpus, fill
from scrape_do_celery.sandbox import SandboxProcess, pages
from scrape_do_celery.sandbox.server import main


class StandIn(SandboxProcess):
    """A stand-in without a limit of its own: slots and credits for any case, every task equally long."""

    def __init__(self, job_seconds: float, **options: Any) -> None:
        super().__init__(
            job_seconds, spread=0.0, concurrency=10_000_000, credits=1_000_000_000, start_timeout=60.0, **options
        )
        self._command[self._command.index("-m") + 1] = "benchmarks.stand_in"

    def requests(self, *kinds: str) -> int:
        """How many requests of these kinds it answered since its last reset; of all kinds, where none is named."""
        answers: dict[str, dict[str, int]] = self.stats()["answers"]
        return sum(sum(found.values()) for kind, found in answers.items() if not kinds or kind in kinds)


if __name__ == "__main__":
    corpus()
    pages._fill = fill  # noqa: SLF001 (the sandbox pads with one line over and over, which compresses to nothing)
    sys.exit(main())
