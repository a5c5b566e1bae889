"""Read the entries of a run: one task for each input of the caller, in input order, with the input's `meta`.

A run without `meta` and duplicates has no inputs in its record. Then its entries are its tasks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from scrape_do_celery.rules.ordering import OwnUrls
from scrape_do_celery.runs import results
from scrape_do_celery.store.commands.parts import ReadPartInputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scrape_do_celery.models import JobDetails, TaskDetails
    from scrape_do_celery.runs.results import PartReader
    from scrape_do_celery.store import RunRecord, Store
    from scrape_do_celery.store.inputs import RunInputs

#: Entries that are read at a time, at most.
_CHUNK: Final = 25


class _Entry(NamedTuple):
    """An input, and the place of its task. The target is known by its index in the part."""

    part: int
    position: int
    target: int
    meta: str | None


@dataclass(frozen=True, slots=True)
class PlacedPart:
    """A part whose tasks are given to its targets."""

    reader: PartReader
    #: position of each target's task
    positions: list[int]
    #: the URLs by which a task must confirm its target; None if the positions are not proven
    own_urls: OwnUrls | None

    @classmethod
    def place(cls, reader: PartReader, own: Mapping[int, str]) -> PlacedPart:
        """Give the tasks to the targets by the job's summary; if that proves nothing, also by the tasks' own URLs."""
        positions, proven = reader.decide_order({})
        if not proven:
            positions, proven = reader.decide_order(own)
        return cls(reader, positions, OwnUrls(reader.targets) if proven and reader.targets is not None else None)

    @classmethod
    def place_by_summary(cls, reader: PartReader, store: Store) -> PlacedPart:
        """Give the tasks to the targets. If the summary proves nothing, read the pages once more for their own URLs."""
        placed = cls.place(reader, {})
        if placed.own_urls is not None or reader.targets is None:
            return placed
        stored = reader.read_stored(store, range(len(reader.named)))
        return cls.place(reader, {at: task.url for at, task in stored if not task.gone})

    def is_proven(self, index: int, task: TaskDetails) -> bool:
        """Return whether the task surely belongs to this target. A task that is gone has no URL of its own."""
        return self.own_urls is not None and (task.gone or self.own_urls.is_of(index, task.url))


class RunEntries(NamedTuple):
    """All entries of a run, the jobs of its parts, and whether the URLs prove the order."""

    tasks: list[TaskDetails]
    jobs: dict[int, JobDetails]
    is_proven: bool


def iter_entries(store: Store, record: RunRecord) -> Iterator[TaskDetails]:
    """Yield the entry of each input whose task is stored, in input order, with a few tasks in memory at a time.

    Raises:
        ResultExpiredError: tasks were stored, and have expired; or a record of the run is lost.
    """
    placed: dict[int, PlacedPart] = {}
    for number, reader, inputs in _iter_parts(store, record, results.whole_jobs_by_part(store, record)):
        if inputs is None:
            if reader is not None:
                yield from reader.iter_tasks(store)
            continue
        if not inputs.is_deduped:
            placed.clear()
        if reader is not None:
            placed[number] = PlacedPart.place_by_summary(reader, store)
        yield from _iter_part_entries(store, _list_entries(number, inputs, placed, record.part_size), number, placed)


def read_entries(store: Store, record: RunRecord) -> RunEntries:
    """Read the entries of all inputs whose tasks are stored, in input order.

    Raises:
        ResultExpiredError: tasks were stored, and have expired; or a record of the run is lost.
    """
    found = RunEntries([], results.whole_jobs_by_part(store, record), is_proven=True)
    placed: dict[int, PlacedPart] = {}
    stored: dict[tuple[int, int], TaskDetails] = {}
    for number, reader, inputs in _iter_parts(store, record, found.jobs):
        proven = True
        if inputs is None:
            tasks, proven = reader.read_tasks(store) if reader is not None else ([], True)
            found.tasks.extend(tasks)
        elif reader is not None:
            of_part = dict(reader.read_stored(store, range(len(reader.named))))
            stored.update({(number, at): task for at, task in of_part.items()})
            own = {at: task.url for at, task in of_part.items() if not task.gone}
            placed[number], (_, proven) = PlacedPart.place(reader, own), reader.decide_order(own)
        if inputs is not None:
            found.tasks.extend(_make_tasks(_list_entries(number, inputs, placed, record.part_size), stored, placed))
        found = found._replace(is_proven=found.is_proven and proven)
    return found


def _iter_parts(
    store: Store, record: RunRecord, jobs: Mapping[int, JobDetails]
) -> Iterator[tuple[int, PartReader | None, RunInputs | None]]:
    """Yield the number of each part with a job, its reader and its inputs.

    With `dedupe`, also yield later parts without a job: the targets of their inputs may belong to earlier parts.
    """
    is_deduped = False
    for number in range(len(record.parts)):
        job = jobs.get(number)
        if job is None and not is_deduped:
            continue
        spec = store.run(ReadPartInputs(record.part_id(number)))
        inputs = None if spec is None else spec.inputs
        is_deduped = is_deduped or (inputs is not None and inputs.is_deduped)
        yield number, None if job is None else results.make_reader(record, number, job, spec), inputs


def _list_entries(number: int, inputs: RunInputs, placed: Mapping[int, PlacedPart], part_size: int) -> list[_Entry]:
    """Return the entries of a part's inputs whose targets have a task, in input order.

    `part_size` is that of the run. Tasks beyond the targets follow: they are possible only if nothing proves the order.
    """
    own, sources = placed.get(number), inputs.sources
    count = len(own.reader.targets or own.positions) if own is not None else 0
    if sources is None:
        sources = tuple(range(number * part_size, number * part_size + count))
    entries: list[_Entry] = []
    for at, source in enumerate(sources):
        part, index = divmod(source, part_size)
        positions = placed[part].positions if part in placed else []
        if index < len(positions):
            entries.append(_Entry(part, positions[index], index, inputs.metas[at] if inputs.metas else None))
    rest = own.positions[count:] if own is not None else []
    return entries + [_Entry(number, position, index, None) for index, position in enumerate(rest, start=count)]


def _iter_part_entries(
    store: Store, listed: Iterable[_Entry], number: int, placed: Mapping[int, PlacedPart]
) -> Iterator[TaskDetails]:
    entries, found = iter(listed), set[int]()
    stored: dict[tuple[int, int], TaskDetails] = {}
    while chunk := list(islice(entries, _CHUNK)):
        # A target that many inputs share is often read already.
        stored = _read_contents(store, chunk, placed, stored)
        found.update(position for part, position in stored if part == number)
        yield from _make_tasks(chunk, stored, placed)
    if number in placed:
        placed[number].reader.check_complete(found)


def _read_contents(
    store: Store,
    chunk: Sequence[_Entry],
    placed: Mapping[int, PlacedPart],
    known: Mapping[tuple[int, int], TaskDetails],
) -> dict[tuple[int, int], TaskDetails]:
    """Return the stored tasks of the entries, by part and position."""
    places = {(one.part, one.position) for one in chunk}
    stored = {place: known[place] for place in places if place in known}
    for part in sorted({part for part, _ in places - stored.keys()}):
        positions = sorted(position for owner, position in places - stored.keys() if owner == part)
        pairs = placed[part].reader.read_chunk(store, positions)
        stored.update({(part, position): task for position, task in pairs})
    return stored


def _make_tasks(
    entries: Sequence[_Entry], stored: Mapping[tuple[int, int], TaskDetails], placed: Mapping[int, PlacedPart]
) -> Iterator[TaskDetails]:
    for entry in entries:
        task = stored.get((entry.part, entry.position))
        if task is None:
            continue
        if entry.meta is not None and placed[entry.part].is_proven(entry.target, task):
            task = task.model_copy(update={"meta": json.loads(entry.meta)})
        yield task
