"""The tools of every case: sizes, the stand-in, and contenders to start."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from benchmarks.canvas import Canvas
from benchmarks.ours import Ours

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.sizes import Sizes
    from benchmarks.stand_in import StandIn
    from benchmarks.workers import Pool

_DOCUMENTED: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass
class Bench:
    """A run of the benchmark."""

    sizes: Sizes
    pool: Pool
    repeat: int
    #: The folder for all files that the run writes.
    folder: Path
    stand_in: StandIn
    #: The figures of the cases before this one.
    figures: dict[str, Any] = field(default_factory=dict)

    def ours(self, *, apart: bool = False, settings: Mapping[str, str] = _DOCUMENTED) -> Ours:
        """Return this package as a contender, on servers of its own, with its documented settings and these."""
        return Ours(self.stand_in.url, self.pool, self.new_folder(), apart=apart, settings=settings)

    def canvas(self) -> Canvas:
        """Return the canvas as a contender, on a server of its own."""
        return Canvas(self.stand_in.url, self.new_folder())

    def say(self, text: str) -> None:
        """Print a line of progress."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()

    def new_folder(self) -> Path:
        """Create an empty folder for one contender."""
        return Path(tempfile.mkdtemp(dir=self.folder))
