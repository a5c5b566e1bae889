"""Merge the entries of a lineage: for each input of its first run the newest page that any of its runs has."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scrape_do_celery.errors import ResultExpiredError, RunNotFoundError
from scrape_do_celery.runs import results
from scrape_do_celery.runs.entries import PlacedPart
from scrape_do_celery.runs.plugin_answers import place_answers
from scrape_do_celery.store.commands.contents import ReadStoredPositions
from scrape_do_celery.store.commands.parts import ReadPartInputs
from scrape_do_celery.store.request_inputs import wire_inputs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scrape_do_celery.models import TaskDetails
    from scrape_do_celery.runs.results import PartReader
    from scrape_do_celery.store import RunRecord, RunSpec, Store

#: Entries that are read at a time, at most.
_CHUNK: Final = 25


@dataclass(frozen=True, slots=True)
class MergedEntry:
    """The entry of one input of the first run of a lineage."""

    #: index of the input among those of the first run
    position: int
    #: the URL, or the parameter set of a plugin as the API gets it
    target: str | dict[str, Any] = field(repr=False)
    #: the newest task with a page; if no run has a page, the newest task; None if no run has a task
    task: TaskDetails | None
    #: the run that has the task
    run_id: str | None

    @property
    def has_page(self) -> bool:
        """Whether any run of the lineage has a page for the input. `retry_failed` buys inputs without a page."""
        return self.task is not None and self.task.has_page


@dataclass(frozen=True, slots=True)
class MergedResult:
    """The result of a lineage: of a run, its child, the child of that child, and so on."""

    #: ids of the runs, from the first run to the newest child
    lineage: tuple[str, ...]
    #: an entry for each input of the first run, in input order
    entries: list[MergedEntry] = field(repr=False)
    #: credits that the API reported for the tasks of all these runs
    cost: float
    #: false if tasks could not be matched to the targets, and are in the API's order
    order_verified: bool

    @property
    def succeeded(self) -> list[MergedEntry]:
        """The entries with a page."""
        return [entry for entry in self.entries if entry.has_page]

    @property
    def missing(self) -> list[MergedEntry]:
        """The entries without a page."""
        return [entry for entry in self.entries if not entry.has_page]


class _Place(NamedTuple):
    """The place of an input's task: the part, its position there, and the index of the target in the part."""

    part: int
    position: int
    target: int


class _Input(NamedTuple):
    """An input of the first run: its target, and the JSON text of its `meta`."""

    target: str | dict[str, Any]
    meta: str | None


@dataclass(slots=True)
class _Generation:
    """One run of a lineage. Its places are known by the position of the input in the first run."""

    run_id: str
    part_size: int
    placed: dict[int, PlacedPart] = field(default_factory=dict)
    stored: dict[int, set[int]] = field(default_factory=dict)
    places: dict[int, _Place] = field(default_factory=dict)
    inputs: list[_Input] = field(default_factory=list)
    is_proven: bool = True

    @classmethod
    def read(cls, store: Store, record: RunRecord) -> _Generation:
        """Read where the tasks of a run are. Pages are read for a moment only, if nothing else proves the order.

        Raises:
            ResultExpiredError: tasks were stored, and have expired; or a record of the run is lost.
        """
        found, jobs = cls(record.run_id, record.part_size), results.whole_jobs_by_part(store, record)
        items: list[Any] = []
        for number in range(len(record.parts)):
            spec = store.run(ReadPartInputs(record.part_id(number)))
            if spec is None:
                raise ResultExpiredError(f"the targets of run {record.run_id} are no longer in the store", found.run_id)
            if number in jobs:
                found._place_part(store, results.make_reader(record, number, jobs[number], spec), spec)
            items += wire_inputs_of(spec.request)
            found._add_inputs(number * record.part_size, spec, items)
        return found

    def _place_part(self, store: Store, reader: PartReader, spec: RunSpec) -> None:
        number = reader.part_id.part
        stored = store.run(ReadStoredPositions(reader.part_id))
        reader.check_complete(stored)
        if reader.targets is None:
            positions, is_proven = place_answers(reader, store, wire_inputs_of(spec.request))
            placed = PlacedPart(reader, positions, None)
        else:
            placed = PlacedPart.place_by_summary(reader, store)
            is_proven = placed.own_urls is not None
        self.placed[number], self.stored[number] = placed, stored
        # Without a task, nothing can be at a wrong place.
        self.is_proven = self.is_proven and (is_proven or not stored)

    def _add_inputs(self, start: int, spec: RunSpec, items: Sequence[Any]) -> None:
        inputs, first = spec.inputs, len(self.inputs)
        sources = inputs.sources if inputs else None
        if sources is None:
            sources = tuple(range(start, start + spec.request.size))
        metas = inputs.metas if inputs else None
        places = inputs.positions if inputs else None
        for at, source in enumerate(sources):
            self.inputs.append(_Input(items[source], metas[at] if metas else None))
            part, index = divmod(source, self.part_size)
            positions = self.placed[part].positions if part in self.placed else []
            if index < len(positions):
                self.places[places[at] if places else first + at] = _Place(part, positions[index], index)

    def read_tasks(self, store: Store, wanted: Sequence[int]) -> dict[int, TaskDetails]:
        """Return the tasks of some inputs of the first run, by the position of the input.

        Raises:
            ResultExpiredError: a task was stored, and has expired.
        """
        places = {position: self.places[position] for position in wanted if position in self.places}
        found: dict[tuple[int, int], TaskDetails] = {}
        for part in sorted({place.part for place in places.values()}):
            at = sorted({place.position for place in places.values() if place.part == part} & self.stored[part])
            reader = self.placed[part].reader
            tasks = dict(reader.read_chunk(store, at))
            if len(tasks) < len(at):
                raise reader.expired_error()
            found |= {(part, position): task for position, task in tasks.items()}
        return {
            position: found[place.part, place.position]
            for position, place in places.items()
            if (place.part, place.position) in found
        }

    def is_of(self, position: int, task: TaskDetails) -> bool:
        """Return whether the task surely belongs to the input of the first run."""
        place = self.places[position]
        return self.placed[place.part].is_proven(place.target, task)


class Lineage:
    """The runs of a lineage, ready to be read together.

    Raises:
        RunNotFoundError: the first run was forgotten, or has expired.
        ResultExpiredError: tasks were stored, and have expired; or a record is lost.
    """

    def __init__(self, store: Store, records: Sequence[RunRecord]) -> None:
        first = records[0]
        if first.parent is not None:
            raise RunNotFoundError(
                f"run {first.parent}, the parent of run {first.run_id}, was forgotten or has expired, so the inputs of "
                "the lineage are not known; `iter_tasks` reads the pages of each run",
                first.parent,
            )
        self._store, self._records = store, records
        self._newest_first = [_Generation.read(store, record) for record in reversed(records)]

    def iter_entries(self) -> Iterator[MergedEntry]:
        """Yield the entry of each input of the first run, with few tasks in memory at a time.

        Raises:
            ResultExpiredError: a task was stored, and has expired.
        """
        count = len(self._newest_first[-1].inputs)
        for start in range(0, count, _CHUNK):
            yield from self._read_chunk(range(start, min(start + _CHUNK, count)))

    def read_result(self) -> MergedResult:
        """Read all entries."""
        return MergedResult(
            lineage=tuple(record.run_id for record in self._records),
            entries=list(self.iter_entries()),
            cost=sum(part.credits for record in self._records for part in record.parts),
            order_verified=all(generation.is_proven for generation in self._newest_first),
        )

    def _read_chunk(self, positions: Sequence[int]) -> Iterator[MergedEntry]:
        best: dict[int, tuple[_Generation, TaskDetails]] = {}
        for generation in self._newest_first:
            wanted = [one for one in positions if one not in best or not best[one][1].has_page]
            for position, task in generation.read_tasks(self._store, wanted).items():
                if position not in best or task.has_page:
                    best[position] = generation, task
        for position in positions:
            yield self._make_entry(position, best)

    def _make_entry(self, position: int, best: Mapping[int, tuple[_Generation, TaskDetails]]) -> MergedEntry:
        target, meta = self._newest_first[-1].inputs[position]
        if position not in best:
            return MergedEntry(position, target, None, None)
        generation, task = best[position]
        if meta is not None and generation.is_of(position, task):
            task = task.model_copy(update={"meta": json.loads(meta)})
        return MergedEntry(position, target, task, generation.run_id)
