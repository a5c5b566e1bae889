"""What every case is given: sizes, the stand-in, and contenders to start."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.canvas import Canvas
from benchmarks.ours import Ours

if TYPE_CHECKING:
    from benchmarks.sizes import Sizes
    from benchmarks.stand_in import StandIn
    from benchmarks.workers import Pool


@dataclass
class Bench:
    """One run of the benchmark."""

    sizes: Sizes
    pool: Pool
    repeat: int
    #: All that is written while it runs.
    folder: Path
    stand_in: StandIn
    #: What the cases before this one found.
    figures: dict[str, Any] = field(default_factory=dict)

    def ours(self, *, apart: bool = False) -> Ours:
        """This package, on servers of its own."""
        return Ours(self.stand_in.url, self.pool, self.new_folder(), apart=apart)

    def canvas(self) -> Canvas:
        """The canvas, on a server of its own."""
        return Canvas(self.stand_in.url, self.new_folder())

    def say(self, text: str) -> None:
        """Tells whoever waits what is going on."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()

    def new_folder(self) -> Path:
        """An empty folder for one contender."""
        return Path(tempfile.mkdtemp(dir=self.folder))
