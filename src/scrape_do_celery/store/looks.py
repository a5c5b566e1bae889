"""The commands that only look; `ops` hands them on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.models import JobDetails, TaskDetails
from scrape_do_celery.store.codec import unpack, unpack_task
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.records import RunRecord
from scrape_do_celery.store.sealing import decrypted_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys, PartId
    from scrape_do_celery.store.options import RunSpec


def forgotten(keys: Keys, run_id: str) -> Command[bool]:
    """Whether the run has ended and was freed by `forget`."""
    return Command(bool, ("HEXISTS", keys.run(run_id), "forgotten"))


def clock() -> Command[float]:
    """The store's time."""
    return Command(lambda r: r[0] + r[1] / 1_000_000, ("TIME",))


def read_run(keys: Keys, run_id: str) -> Command[RunRecord | None]:
    """The run and its parts; None where there is none."""
    return Command(lambda r: RunRecord.parse(run_id, r, keys), (run_id, keys.prefix), [keys.run(run_id)], "read_run")


def outcome(keys: Keys, run_id: str) -> Command[tuple[bool, str | None]]:
    """Whether the run is there, and its outcome."""
    return Command(
        lambda r: (r[0] is not None, r[1].decode() if r[1] else None),
        ("HMGET", keys.run(run_id), "created", "outcome"),
    )


def spec(keys: Keys, run_id: str, parts: int) -> Command[RunSpec | None]:
    """The whole request of a run; None where there is none."""
    fields = ("spec", *(f"targets:{n}" for n in range(parts)))
    return Command(
        lambda r: None if r[0] is None else decrypted_spec(keys, run_id, dict(zip(fields, r, strict=True))),
        ("HMGET", keys.run(run_id), *fields),
    )


def part_spec(keys: Keys, part_id: PartId) -> Command[RunSpec | None]:
    """The request of one part; None where there is none."""
    fields = ("spec", f"targets:{part_id.part}")
    return Command(
        lambda r: None if None in r else decrypted_spec(keys, part_id.run_id, dict(zip(fields, r, strict=True))),
        ("HMGET", keys.run(part_id.run_id), *fields),
    )


def job(keys: Keys, part_id: PartId) -> Command[JobDetails | None]:
    """The part's last `JobDetails`."""
    key = keys.job(part_id.run_id, part_id.part)
    return Command(
        lambda r: None if r is None else JobDetails.model_validate(unpack(keys.decrypt(key, "", r))),
        ("GET", key),
    )


def fetched(keys: Keys, part_id: PartId) -> Command[set[int]]:
    """Positions whose tasks are stored."""
    return Command(lambda r: {int(f) for f in r}, ("HKEYS", keys.contents(part_id.run_id, part_id.part)))


def contents(keys: Keys, part_id: PartId, positions: Sequence[int]) -> Command[list[TaskDetails | None]]:
    """The stored tasks of some positions, None for each that is not there."""
    key = keys.contents(part_id.run_id, part_id.part)

    def read(position: int, frame: bytes | None) -> TaskDetails | None:
        return None if frame is None else unpack_task(keys.decrypt(key, str(position), frame))

    return Command(
        lambda r: [read(position, frame) for position, frame in zip(positions, r, strict=True)],
        ("HMGET", key, *positions),
    )
