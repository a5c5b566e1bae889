"""Step the clock of a real server process while it runs, by libfaketime. The server's monotonic clock goes on."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def find_library() -> Path:
    """Return the path of the library that the wheel `libfaketime` holds."""
    folder = resources.files("libfaketime") / "vendor" / "libfaketime" / "src"
    return folder / "libfaketime.so.1"  # type: ignore[return-value]


class SteppedClock:
    """The wall clock of the processes that get its `environment`."""

    def __init__(self, folder: Path, ahead: float = 0.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "faketime"
        self.step_to(ahead)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that reads this clock."""
        return {
            "LD_PRELOAD": str(find_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Without it, the library would read the file once in ten seconds.
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def step_to(self, ahead: float) -> None:
        """Step the clock to `ahead` seconds ahead of the machine's clock."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+g}")
        # A process that reads the file must find the old text or the new one.
        new.replace(self._file)
