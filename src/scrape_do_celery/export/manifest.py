"""The manifest of an export of a folder: its run, and the digest of each shard."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Self

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Shard:
    """A file with a share of the rows."""

    file: str
    rows: int
    succeeded: int
    #: bytes of the file
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of an export: equal fields before `credits` mean that one export can carry on another."""

    run_id: str
    #: when the run was written: a caller may use the id of an expired run again
    created: str
    format: str
    rows_per_shard: int
    with_content: bool
    #: whether the run had ended. Rows of a live run may move, so that no later export can carry on their shards.
    has_ended: bool
    #: the state of the run at the beginning of the export
    state: str
    #: credits of the run, as far as the API reported them
    credits: float
    shards: tuple[Shard, ...] = field(default=())

    @property
    def rows(self) -> int:
        """The rows in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def succeeded(self) -> int:
        """The rows of tasks that succeeded."""
        return sum(shard.succeeded for shard in self.shards)

    @property
    def size(self) -> int:
        """The bytes of all shards, without pages in files of their own."""
        return sum(shard.size for shard in self.shards)

    def add(self, shard: Shard) -> Self:
        """Return the manifest with one more shard."""
        return replace(self, shards=(*self.shards, shard))

    def keep(self, count: int) -> Self:
        """Return the manifest with its first shards."""
        return replace(self, shards=self.shards[:count])

    def describe_difference(self, other: Self) -> str:
        """Return why an export with this manifest cannot be carried on as `other`; empty if it can."""
        for name in ("run_id", "created", "format", "rows_per_shard", "with_content"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"its {name} is {mine}, not {theirs}"
        return "" if self.has_ended and other.has_ended else "the run had not ended then, or has not ended yet"

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON."""
        totals = {"rows": self.rows, "succeeded": self.succeeded, "failed": self.rows - self.succeeded}
        values: dict[str, Any] = {"version": _VERSION, **asdict(self), **totals}
        values["shards"] = values.pop("shards")
        return json.dumps(values, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Return the manifest of a file.

        Raises:
            ValueError: the file holds no manifest, or that of another version.
        """
        try:
            values = json.loads(raw)
            if values.pop("version") != _VERSION:
                raise ValueError("its version is another one")
            shards = tuple(Shard(**one) for one in values.pop("shards"))
            return cls(**{name: values[name] for name in cls.__slots__ if name != "shards"}, shards=shards)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a field is missing or wrong: {error}") from None
