"""The id of a part of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class PartId:
    """The id of a part in messages and in the due set."""

    run_id: str
    part: int

    def __str__(self) -> str:
        return f"{self.run_id}:{self.part}"

    @classmethod
    def parse(cls, text: str) -> PartId:
        """Parse the text that `str()` made. The id of a run may itself contain colons."""
        run_id, _, part = text.rpartition(":")
        return cls(run_id, int(part))
