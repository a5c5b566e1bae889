"""The operations that only look; `ops` hands them on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.models import JobDetails, TaskDetails
from scrape_do_celery.store.codec import unpack, unpack_task
from scrape_do_celery.store.op import Op
from scrape_do_celery.store.records import RunRecord
from scrape_do_celery.store.sealing import unsealed_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys, PartId
    from scrape_do_celery.store.spec import RunSpec


def forgotten(keys: Keys, run_id: str) -> Op[bool]:
    """Whether the run has ended and was freed by `forget`."""
    return Op(bool, ("HEXISTS", keys.run(run_id), "forgotten"))


def clock() -> Op[float]:
    """The store's time."""
    return Op(lambda r: r[0] + r[1] / 1_000_000, ("TIME",))


def view(keys: Keys, run_id: str) -> Op[RunRecord | None]:
    """The run and its parts; None where there is none."""
    return Op(lambda r: RunRecord.parse(run_id, r, keys), (run_id, keys.prefix), [keys.run(run_id)], "view")


def outcome(keys: Keys, run_id: str) -> Op[tuple[bool, str | None]]:
    """Whether the run is there, and its outcome."""
    return Op(
        lambda r: (r[0] is not None, r[1].decode() if r[1] else None),
        ("HMGET", keys.run(run_id), "created", "outcome"),
    )


def spec(keys: Keys, run_id: str, parts: int) -> Op[RunSpec | None]:
    """The whole request of a run; None where there is none."""
    fields = ("spec", *(f"t:{n}" for n in range(parts)))
    return Op(
        lambda r: None if r[0] is None else unsealed_spec(keys, run_id, dict(zip(fields, r, strict=True))),
        ("HMGET", keys.run(run_id), *fields),
    )


def part_spec(keys: Keys, part_id: PartId) -> Op[RunSpec | None]:
    """The request of one part; None where there is none."""
    fields = ("spec", f"t:{part_id.part}")
    return Op(
        lambda r: None if None in r else unsealed_spec(keys, part_id.run_id, dict(zip(fields, r, strict=True))),
        ("HMGET", keys.run(part_id.run_id), *fields),
    )


def job(keys: Keys, part_id: PartId) -> Op[JobDetails | None]:
    """The part's last `JobDetails`."""
    key = keys.job(part_id.run_id, part_id.part)
    return Op(
        lambda r: None if r is None else JobDetails.model_validate(unpack(keys.open(key, "", r))),
        ("GET", key),
    )


def fetched(keys: Keys, part_id: PartId) -> Op[set[int]]:
    """Positions whose tasks are stored."""
    return Op(lambda r: {int(f) for f in r}, ("HKEYS", keys.contents(part_id.run_id, part_id.part)))


def contents(keys: Keys, part_id: PartId, positions: Sequence[int]) -> Op[list[TaskDetails | None]]:
    """The stored tasks of some positions, None for each that is not there."""
    key = keys.contents(part_id.run_id, part_id.part)

    def read(position: int, frame: bytes | None) -> TaskDetails | None:
        return None if frame is None else unpack_task(keys.open(key, str(position), frame))

    return Op(
        lambda r: [read(position, frame) for position, frame in zip(positions, r, strict=True)],
        ("HMGET", key, *positions),
    )
