"""Commands for deliveries of webhooks: take a delivery, read and drop what steps must treat."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.models.ids import same_id
from scrape_do_celery.rules.deliveries import find_position, is_page, map_positions
from scrape_do_celery.rules.states import PartState, next_step
from scrape_do_celery.store.codec import unpack
from scrape_do_celery.store.command import Command, Encoded, make_nonce
from scrape_do_celery.store.commands.contents import encode_cost, make_frame
from scrape_do_celery.store.stored_specs import read_price_key

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scrape_do_celery.models import TaskDetails
    from scrape_do_celery.store.command import Value
    from scrape_do_celery.store.keys import Keys
    from scrape_do_celery.store.part_ids import PartId

#: The position that stands for a task which the part's job certainly does not have.
_NOWHERE: Final = "none"


class DeliveryResult(StrEnum):
    """The result of a delivery."""

    STORED = "stored"  #: the page is stored
    HINTED = "hinted"  #: a step will fetch the task, or poll the job
    NOTED = "noted"  #: the ids, or a proof of the purchase, are noted, because the part does not know its job yet
    KNOWN = "known"  #: nothing new
    OTHER = "other"  #: nothing was written: the purchase, the job or the task is not the part's own
    ENDED = "ended"  #: nothing was written: the part has ended
    GONE = "gone"  #: nothing was written: no such run or part
    NEWER = "newer"  #: nothing was written: a newer version wrote the record, and must take the delivery
    FULL = "full"  #: nothing was written: the part has as many notes as targets
    STALE = "stale"  #: nothing was written or counted: read the `DeliveryTarget` anew, and send the delivery again


@dataclass(frozen=True, slots=True)
class TakenDelivery:
    """The reply to a delivery. `step` is the name of the step to publish for the part; None for no step.

    If the caller does not publish the step, the dispatcher does `HINT_PUBLISH` seconds later. `size` is the number of
    stored bytes.
    """

    result: DeliveryResult
    step: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class DeliveryTarget:
    """The part that deliveries belong to, as a receiver must know it. All but `state` stays while the job stays.

    A receiver may keep it for later deliveries: `TakeDelivery` gives `STALE` if it does not hold any more.
    """

    part_id: PartId
    state: PartState
    purchases: int
    total: int
    account: str
    #: empty while the part does not know its job
    job_id: str
    task_ids: tuple[str, ...] = field(repr=False)
    #: the time at which the part got its job, and the bytes of the stored ids, which tell whether the ids have changed
    bought_at: str
    tasks_size: int
    #: whether this process encrypts pages with a key that the workers of the run have; if not, pages become hints
    can_store: bool
    keys: Keys = field(repr=False)
    spec_field: bytes = field(repr=False)
    targets_field: bytes = field(repr=False)
    positions: Mapping[str, int] = field(repr=False)

    def find_position(self, job_id: str, task_id: str) -> Value:
        """Return the position of a task as the script takes it."""
        if not (self.job_id and same_id(job_id, self.job_id)):
            return ""
        try:
            at = find_position(self.positions, self.total, task_id)
        except LookupError:
            return _NOWHERE
        return "" if at is None else at

    def price_key(self, url: str) -> str:
        """Return the name under which the store learns the cost of a task with this URL; empty for no name."""
        return read_price_key(self.keys, self.part_id, self.spec_field, self.targets_field, url)


@dataclass(frozen=True, slots=True)
class ReadDeliveryTarget(Command[DeliveryTarget | None]):
    """Read the part of a purchase. The result is None if there is no such part, or if a newer version wrote it."""

    part_id: PartId
    script = "read_delivery_target"

    def encode(self, keys: Keys) -> Encoded:
        part_id = self.part_id
        return Encoded((part_id.part,), [keys.part(part_id), keys.run(part_id.run_id)])

    def decode(self, keys: Keys, reply: Any) -> DeliveryTarget | None:
        if not reply:
            return None
        state, purchases, total, account, job_id, tasks, bought_at, *of_run = (one or b"" for one in reply)
        key_names, spec, targets = of_run
        task_ids = tuple(unpack(tasks)) if tasks else ()
        return DeliveryTarget(
            part_id=self.part_id,
            state=PartState(state.decode()),
            purchases=int(purchases or 0),
            total=int(total or 0),
            account=account.decode(),
            job_id=job_id.decode(),
            task_ids=task_ids,
            bought_at=bought_at.decode(),
            tasks_size=len(tasks),
            can_store=_can_store(key_names.decode().split(), keys.key_names),
            keys=keys,
            spec_field=spec,
            targets_field=targets,
            positions=map_positions(task_ids),
        )


@dataclass(frozen=True, slots=True)
class TakeDelivery(Command[TakenDelivery]):
    """Take a delivery by the webhook of purchase `number` of a part: store its page, note a hint, or note its ids.

    `target` is what `ReadDeliveryTarget` gave; None if it gave None. `job_id` and `task_id` are the ids in the body;
    empty if the body is unreadable. `is_proven` tells that the header was right. `page` is the task of a body that may
    be believed; without a page, the delivery is a hint. The next safety poll comes `safety_after` seconds after this
    delivery. A command that is sent twice has one `nonce`, and gives the same result twice.
    """

    part_id: PartId
    number: int
    target: DeliveryTarget | None
    job_id: str = ""
    task_id: str = ""
    _: KW_ONLY
    is_proven: bool = False
    page: TaskDetails | None = field(default=None, repr=False)
    safety_after: float = 60.0
    nonce: str = field(default_factory=make_nonce)
    script = "take_delivery"

    def encode(self, keys: Keys) -> Encoded:
        part_id, target = self.part_id, self.target
        position: Value = "" if target is None else target.find_position(self.job_id, self.task_id)
        known: tuple[Value, ...] = ("", "", 0, 0) if target is None else _encode_known(target)
        return Encoded(
            (
                *(str(part_id), self.number, self.nonce, *known, self.job_id, self.task_id),
                *(int(self.is_proven), position, *self._encode_page(keys, position)),
                *(" ".join(keys.key_names), self.safety_after, keys.prefix),
            ),
            [
                *(keys.part(part_id), keys.run(part_id.run_id), keys.due),
                *(keys.contents(part_id), keys.deliveries(part_id)),
            ],
        )

    def decode(self, keys: Keys, reply: Any) -> TakenDelivery:
        result, state, size = reply
        return TakenDelivery(DeliveryResult(result.decode()), next_step(state.decode()) if state else None, int(size))

    def _encode_page(self, keys: Keys, position: Value) -> tuple[Value, Value, Value]:
        """Return the frame of the page, its credits and its price key; empty for a hint."""
        page, target = self.page, self.target
        if page is None or target is None or not (target.can_store and isinstance(position, int) and is_page(page)):
            return "", "", ""
        return make_frame(keys, self.part_id, position, page), encode_cost(page), target.price_key(page.url)


@dataclass(frozen=True, slots=True)
class DeliveryNote:
    """The ids of a delivery that came before the part knew its job. `is_proven` tells that the header was right."""

    job_id: str
    task_id: str
    is_proven: bool

    @property
    def name(self) -> str:
        """The name of the field that holds the note."""
        return f"note {self.job_id} {self.task_id}"


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The deliveries of a part that steps must treat, by position.

    A task of `hints` must be fetched. The page of a task of `checks` is stored, and must be fetched and compared. The
    page of a task of `pages` is stored and stands, unless the trust in pages ends.
    """

    hints: frozenset[int] = frozenset()
    checks: frozenset[int] = frozenset()
    pages: frozenset[int] = frozenset()
    notes: tuple[DeliveryNote, ...] = ()
    #: how often the trust in pages had been restored when the page of a position came
    restores: Mapping[int, int] = field(default_factory=dict, compare=False)

    @classmethod
    def parse(cls, fields: Mapping[bytes, bytes]) -> Deliveries:
        """Parse the fields that `take_delivery.lua` wrote."""
        entries = [(name.decode().split(" "), value.decode().split(" ")) for name, value in fields.items()]
        hints, checks, pages = (
            frozenset(int(name[0]) for name, value in entries if value[0] == kind) for kind in ("hint", "check", "page")
        )
        notes = (DeliveryNote(name[1], name[2], value[1] == "1") for name, value in entries if value[0] == "note")
        # An older receiver writes no such number.
        restores = {int(name[0]): int(value[3]) for name, value in entries if value[0] == "page" and value[4:]}
        return cls(hints, checks, pages, tuple(notes), restores)


@dataclass(frozen=True, slots=True)
class ReadDeliveries(Command[Deliveries]):
    """Read the deliveries of a part that steps must treat."""

    part_id: PartId

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HGETALL", keys.deliveries(self.part_id)))

    def decode(self, keys: Keys, reply: Any) -> Deliveries:
        return Deliveries.parse(reply)


@dataclass(frozen=True, slots=True)
class DropDeliveries(Command[int]):
    """Drop hints and notes that are treated. The result is the number of dropped entries.

    The mark of a delivered page is never dropped: `StoreContent` removes it with the answer for its task. The same
    command removes the hint of a task that it stores.
    """

    part_id: PartId
    hints: Collection[int] = ()
    notes: Sequence[DeliveryNote] = ()
    script = "drop_deliveries"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded([*self.hints, *(note.name for note in self.notes)], [keys.deliveries(self.part_id)])

    def decode(self, keys: Keys, reply: Any) -> int:
        return int(reply)


def _encode_known(target: DeliveryTarget) -> tuple[Value, ...]:
    return target.job_id, target.bought_at, target.tasks_size, len(target.task_ids)


def _can_store(of_run: Sequence[str], own: Sequence[str]) -> bool:
    """Return whether workers can read what this process encrypts: its first key is among the keys of the run."""
    return set(of_run) <= set(own) and (not own or own[0] in of_run)
