"""Commands for the contents of a part: the tasks that are stored, and the pages that are held back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.budgets import lacks_cost
from scrape_do_celery.rules.deliveries import replaces_delivered
from scrape_do_celery.rules.fetch import lacks_page
from scrape_do_celery.rules.webhook_tokens import hide_tokens
from scrape_do_celery.store.codec import pack_task, unpack_task
from scrape_do_celery.store.command import Command, Encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.models import TaskDetails
    from scrape_do_celery.store.command import Value
    from scrape_do_celery.store.keys import Keys
    from scrape_do_celery.store.part_ids import PartId


class StoreResult(StrEnum):
    """The result of a request to store a task."""

    STORED = "stored"
    REPLACED = "replaced"  #: the task was stored now, in place of a delivered page
    KNOWN = "known"  #: the task was stored before
    GONE = "gone"  #: nothing was stored: the run is gone, or the part has ended


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The reply to a request to store a task. `size` is the number of stored bytes."""

    result: StoreResult
    size: int


@dataclass(frozen=True, slots=True)
class StoreContent(Command[StoredContent]):
    """Store a task. If the task has no page, store its held page instead.

    If the task is stored now, its cost is learned under `price_key`, unless that is empty, and is added to the costs of
    its host. A task that the API has answered replaces a delivered page. Without such an answer, the delivered page
    stays, and counts as fetched from now on.
    """

    part_id: PartId
    position: int
    task: TaskDetails
    price_key: str = ""
    script = "store_content"

    def encode(self, keys: Keys) -> Encoded:
        task, part_id = self.task, self.part_id
        counter = "stored_ok" if task.is_success else "stored_failed"
        return Encoded(
            (
                *(self.position, make_frame(keys, part_id, self.position, task), counter, encode_cost(task)),
                *(int(task.gone), int(lacks_page(task)), keys.prefix, part_id.run_id, self.price_key),
                int(replaces_delivered(task)),
            ),
            [keys.contents(part_id), keys.part(part_id), keys.provisional(part_id), keys.deliveries(part_id)],
        )

    def decode(self, keys: Keys, reply: Any) -> StoredContent:
        return StoredContent(StoreResult(reply[0].decode()), int(reply[1]))


@dataclass(frozen=True, slots=True)
class HoldContent(Command[bool]):
    """Hold the page of an answer for a task that has not ended. The result is False if the run is gone.

    A held task is a failure with a page. The store uses it if a later answer has no page, or if the part ends first.
    """

    part_id: PartId
    position: int
    task: TaskDetails
    price_key: str = ""
    script = "hold_content"

    def encode(self, keys: Keys) -> Encoded:
        part_id, frame = self.part_id, make_frame(keys, self.part_id, self.position, self.task)
        return Encoded(
            (self.position, frame, encode_cost(self.task), self.price_key),
            [keys.provisional(part_id), keys.part(part_id)],
        )

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class ReplaceLargeContent(Command[bool]):
    """Replace the record of a page that was too large by the page. The result is False if it was replaced before.

    Use this only for a task that was `too_large` when the caller read it.
    """

    part_id: PartId
    position: int
    task: TaskDetails
    script = "replace_large_content"

    def encode(self, keys: Keys) -> Encoded:
        position, task = self.position, self.task
        frame = make_frame(keys, self.part_id, position, task)
        return Encoded(
            (position, frame, "1" if task.is_success else "", task.cost or 0, f"replaced:{position}"),
            [keys.contents(self.part_id), keys.part(self.part_id)],
        )

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class CountDone(Command[int]):
    """Count the stored tasks of a part that succeeded."""

    part_id: PartId

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HGET", keys.part(self.part_id), "stored_ok"))

    def decode(self, keys: Keys, reply: Any) -> int:
        return int(reply or 0)


@dataclass(frozen=True, slots=True)
class CountContents(Command[int]):
    """Count the stored tasks of a part, also failed ones; 0 after their contents have expired."""

    part_id: PartId

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HLEN", keys.contents(self.part_id)))

    def decode(self, keys: Keys, reply: Any) -> int:
        return int(reply)


@dataclass(frozen=True, slots=True)
class ReadStoredPositions(Command[set[int]]):
    """Read the positions of the tasks of a part that are stored."""

    part_id: PartId

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HKEYS", keys.contents(self.part_id)))

    def decode(self, keys: Keys, reply: Any) -> set[int]:
        return {int(position) for position in reply}


@dataclass(frozen=True, slots=True)
class ReadContents(Command[list["TaskDetails | None"]]):
    """Read the stored tasks at the given positions, in their order; None for a task that is not stored."""

    part_id: PartId
    positions: Sequence[int]

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.contents(self.part_id), *self.positions))

    def decode(self, keys: Keys, reply: Any) -> list[TaskDetails | None]:
        key = keys.contents(self.part_id)
        return [
            None if frame is None else unpack_task(keys.decrypt(key, str(position), frame))
            for position, frame in zip(self.positions, reply, strict=True)
        ]


def make_frame(keys: Keys, part_id: PartId, position: int, task: TaskDetails) -> bytes:
    """Return the frame that is stored for a task."""
    return keys.encrypt(keys.contents(part_id), str(position), pack_task(hide_tokens(task)))


def encode_cost(task: TaskDetails) -> Value:
    """Return the credits that a task cost; empty if the API charged it and did not report the cost."""
    return "" if lacks_cost(task) else task.cost or 0
