"""Commands that only read. `ops` exports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.models import JobDetails, TaskDetails
from scrape_do_celery.store.codec import unpack, unpack_task
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.options import decrypt_spec
from scrape_do_celery.store.records import RunRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scrape_do_celery.store.keys import Keys, PartId
    from scrape_do_celery.store.options import RunSpec


def forgotten(keys: Keys, run_id: str) -> Command[bool]:
    """Tell whether the run has ended and was freed by `forget`."""
    return Command(bool, ("HEXISTS", keys.run(run_id), "forgotten"))


def clock() -> Command[float]:
    """Read the store's clock, in seconds since the epoch."""
    return Command(lambda r: r[0] + r[1] / 1_000_000, ("TIME",))


def read_run(keys: Keys, run_id: str) -> Command[RunRecord | None]:
    """Read a run and its parts; None if the run does not exist."""
    return Command(
        lambda r: RunRecord.from_reply(run_id, r, keys), (run_id, keys.prefix), [keys.run(run_id)], "read_run"
    )


def outcome(keys: Keys, run_id: str) -> Command[tuple[bool, str | None]]:
    """Read whether a run exists, and its outcome; None if it is live."""
    return Command(
        lambda r: (r[0] is not None, r[1].decode() if r[1] else None),
        ("HMGET", keys.run(run_id), "created", "outcome"),
    )


def spec(keys: Keys, run_id: str, parts: int) -> Command[RunSpec | None]:
    """Read the spec of a run with all its targets; None if the run does not exist."""
    fields = ("spec", *(f"targets:{n}" for n in range(parts)))
    return Command(
        lambda r: None if r[0] is None else decrypt_spec(keys, run_id, dict(zip(fields, r, strict=True))),
        ("HMGET", keys.run(run_id), *fields),
    )


def part_spec(keys: Keys, part_id: PartId) -> Command[RunSpec | None]:
    """Read the spec of a run with the targets of one part; None if the part does not exist."""
    fields = ("spec", f"targets:{part_id.part}")
    return Command(
        lambda r: None if None in r else decrypt_spec(keys, part_id.run_id, dict(zip(fields, r, strict=True))),
        ("HMGET", keys.run(part_id.run_id), *fields),
    )


def job(keys: Keys, part_id: PartId) -> Command[JobDetails | None]:
    """Read the last `JobDetails` of a part; None if the part has none."""
    key = keys.job(part_id.run_id, part_id.part)
    return Command(
        lambda r: None if r is None else JobDetails.model_validate(unpack(keys.decrypt(key, "", r))),
        ("GET", key),
    )


def fetched(keys: Keys, part_id: PartId) -> Command[set[int]]:
    """Read the positions of the tasks of a part that are stored."""
    return Command(lambda r: {int(f) for f in r}, ("HKEYS", keys.contents(part_id.run_id, part_id.part)))


def contents(keys: Keys, part_id: PartId, positions: Sequence[int]) -> Command[list[TaskDetails | None]]:
    """Read the stored tasks at the given positions, in their order; None for a task that is not stored."""
    key = keys.contents(part_id.run_id, part_id.part)

    def read(position: int, frame: bytes | None) -> TaskDetails | None:
        return None if frame is None else unpack_task(keys.decrypt(key, str(position), frame))

    return Command(
        lambda r: [read(position, frame) for position, frame in zip(positions, r, strict=True)],
        ("HMGET", key, *positions),
    )


def read_encryption_keys(keys: Keys) -> Command[dict[str, float]]:
    """Return the names of the encryption keys that were used, and when each key was last used."""
    return Command(_encryption_keys, ("ZRANGE", keys.encryption_keys, 0, -1, "WITHSCORES"))


def _encryption_keys(reply: Sequence[Any]) -> dict[str, float]:
    # RESP3 has pairs, RESP2 a flat list of names and scores.
    pairs = reply if reply and isinstance(reply[0], list | tuple) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): float(at) for name, at in pairs}
