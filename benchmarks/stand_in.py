"""The API stand-in of all contenders: this package's sandbox, with pages that compress as real pages do.

`python -m benchmarks.stand_in` takes the options of `scrape-do sandbox`.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.pages import corpus, fill
from scrape_do_sandbox import SandboxProcess, pages
from scrape_do_sandbox.server import main


class StandIn(SandboxProcess):
    """A stand-in without limits of its own: slots and credits for any case, and tasks of equal duration."""

    def __init__(self, job_seconds: float, **options: Any) -> None:
        super().__init__(
            job_seconds, spread=0.0, concurrency=10_000_000, credits=1_000_000_000, start_timeout=60.0, **options
        )
        self._command[self._command.index("-m") + 1] = "benchmarks.stand_in"

    def requests(self, *kinds: str) -> int:
        """Return the number of requests of these kinds since the last reset; without kinds, of all kinds."""
        answers: dict[str, dict[str, int]] = self.stats()["answers"]
        return sum(sum(found.values()) for kind, found in answers.items() if not kinds or kind in kinds)


if __name__ == "__main__":
    corpus()
    pages._fill_page = fill  # noqa: SLF001 (the sandbox pads with one repeated line, which compresses to nothing)
    sys.exit(main())
