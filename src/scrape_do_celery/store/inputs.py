"""The inputs of a run as its caller gave them: the data of each input, and which target it shares with others.

A run without such data and without duplicates has no inputs of this kind, and its record has no field for them. The
inputs of a child also have their positions in the first run of the lineage.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from scrape_do_celery.outside_text import REDACTED
from scrape_do_celery.store.codec import pack_bytes, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class RunInputs:
    """The inputs of a run, or those of one of its parts, in the order of the caller."""

    #: for each input the index of its target in the request of the run; None if each input has its own target
    sources: tuple[int, ...] | None = None
    #: for each input the JSON text of its `meta`, or None; None if no input has one
    metas: tuple[str | None, ...] | None = None
    #: whether equal targets are bought once
    is_deduped: bool = False
    #: for each input of a child its index among the inputs of the first run of the lineage; None if the run is no child
    positions: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        shown = [f"{len(self.sources)} inputs"] if self.sources is not None else []
        shown += [f"meta={REDACTED}"] if self.metas is not None else []
        return f"RunInputs({', '.join(shown)})"

    @property
    def identity(self) -> list[Any]:
        """The values that make two runs with equal requests different; empty if there are none."""
        metas = None if self.metas is None else [None if one is None else _sorted_json(one) for one in self.metas]
        return [] if self.sources is None and metas is None else [self.sources, metas]

    def dedupe(self, items: Sequence[T]) -> tuple[list[T], Self]:
        """Return each different item once, in order, and these inputs with the index of each input's item."""
        found: dict[str, int] = {}
        sources = tuple(found.setdefault(_describe_item(item), len(found)) for item in items)
        if len(found) == len(items):
            return list(items), replace(self, is_deduped=True)
        firsts = dict(zip(reversed(sources), reversed(items), strict=True))
        return [firsts[index] for index in range(len(found))], replace(self, sources=sources, is_deduped=True)

    def expand(self, items: Sequence[T]) -> list[T]:
        """Return the item of each input, from the items of the request."""
        return list(items) if self.sources is None else [items[index] for index in self.sources]

    def count(self, targets: int) -> int:
        """Return the number of inputs of a request with this number of targets."""
        return targets if self.sources is None else len(self.sources)

    def is_whole(self, targets: int, count: int | None = None) -> bool:
        """Return whether each input of a request has its data here; with `count`, also whether these are all inputs."""
        size = self.count(targets)
        lengths = {len(one) for one in (self.metas, self.positions) if one is not None}
        return lengths <= {size} and count in {None, size}

    def select(self, indexes: Iterable[int], count: int) -> tuple[list[int], Self]:
        """Return the target of each input that has one of the targets `indexes`, and the inputs of the child.

        `count` is the number of targets.
        """
        wanted = set(indexes)
        kept = [(n, source) for n, source in enumerate(self.sources or range(count)) if source in wanted]
        metas = tuple(self.metas[n] for n, _ in kept) if self.metas is not None else ()
        given = metas if any(one is not None for one in metas) else None
        positions = tuple(n if self.positions is None else self.positions[n] for n, _ in kept)
        return [source for _, source in kept], type(self)(metas=given, positions=positions)

    def packed(self, count: int, part_size: int) -> list[bytes]:
        """Pack the inputs for the record, in one field for each part. `count` is the number of targets.

        The field of a part ends before the first input of the next part's first target. So a reader that goes from
        part to part has read the targets of all earlier inputs.
        """
        return [
            pack_bytes(self._make_json(start, stop).encode()) for start, stop in self._part_bounds(count, part_size)
        ]

    def _part_bounds(self, count: int, part_size: int) -> Iterator[tuple[int, int]]:
        starts = list(range(0, count, part_size))
        if self.sources is not None:
            starts, following = [], 0
            for position, source in enumerate(self.sources):
                if source == following:
                    starts += [position] if source % part_size == 0 else []
                    following += 1
        yield from zip(starts, [*starts[1:], count if self.sources is None else len(self.sources)], strict=True)

    def _make_json(self, start: int, stop: int) -> str:
        # The texts are JSON already. Reading them again would cost more than all the rest.
        fields = ['"dedupe":true'] if self.is_deduped else []
        if self.sources is not None:
            fields.append(f'"of":[{",".join(map(str, self.sources[start:stop]))}]')
        if self.positions is not None:
            fields.append(f'"at":[{",".join(map(str, self.positions[start:stop]))}]')
        if self.metas is not None:
            fields.append(f'"meta":[{",".join(one or "null" for one in self.metas[start:stop])}]')
        return f"{{{','.join(fields)}}}"

    @classmethod
    def unpacked(cls, fields: Iterable[bytes]) -> RunInputs:
        """Unpack the inputs of some parts."""
        found: list[Mapping[str, Any]] = [unpack(field) for field in fields]
        sources = [one["of"] for one in found if "of" in one]
        metas = [one["meta"] for one in found if "meta" in one]
        positions = [one["at"] for one in found if "at" in one]
        return cls(
            sources=tuple(index for part in sources for index in part) if sources else None,
            metas=tuple(_meta_text(one) for part in metas for one in part) if metas else None,
            is_deduped=any(one.get("dedupe") for one in found),
            positions=tuple(index for part in positions for index in part) if positions else None,
        )


#: The field of a run that has the number of its inputs, if the fields of inputs hold their data. It shows that such a
#: field is lost: a run without these fields would be read as a run without `meta` and duplicates.
INPUT_COUNT: Final = "inputs"


def count_repeated(items: Sequence[Any]) -> int:
    """Return the number of items that equal an earlier item."""
    return len(items) - len(set(map(_describe_item, items)))


def inputs_field(part: int) -> str:
    """Return the name of the field of a run that has the inputs of a part."""
    # `read_run.lua` leaves out the fields that begin as those of targets do, also the script of an older version.
    return f"targets:{part}:inputs"


def _describe_item(item: Any) -> str:
    # Only equal texts are surely one page. Of two spellings of a URL, a server may get both, and answer differently.
    return item if isinstance(item, str) else json.dumps(item, sort_keys=True)


def _meta_text(meta: Any) -> str | None:
    return None if meta is None else json.dumps(meta, separators=(",", ":"), ensure_ascii=False)


def _sorted_json(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)
