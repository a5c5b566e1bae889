"""The operations that bring a run into the store: written down, found by its key, accepted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from scrape_do_celery.models.urls import strict_digest
from scrape_do_celery.store.claiming import REDISPATCH_MIN
from scrape_do_celery.store.op import Op, Value
from scrape_do_celery.store.records import VERSION
from scrape_do_celery.store.sealing import sealing_key
from scrape_do_celery.store.spec import RunSpec, targets_of
from scrape_do_celery.store.states import CANCEL, outcome_of_stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.store.keys import Keys

#: Stands for the number of parts of a run that was freed by `forget`.
FORGOTTEN = -1
#: Seconds for which the id is promised that a transaction was given for a key; and for which a message may come again.
_PROMISED, _AGAIN = 86400, 7 * 86400

Became = Literal["created", "exists", "promised", "forgotten", "waits", "left out"]


@dataclass(frozen=True, slots=True)
class Created:
    """What became of a request to write a run down.

    `promised`: nothing was written, since the key's run is to have this id. `waits`: a draft, for the end of the run of
    an earlier tick. `left out`: nothing was written; the id is that of the run that goes on, empty where that was said
    of this tick before.
    """

    run_id: str
    digest: str
    became: Became

    @property
    def new(self) -> bool:
        """Whether this request wrote it down."""
        return self.became in {"created", "waits"}


@dataclass(frozen=True, slots=True)
class ScheduleTick:
    """A tick of a schedule, and what it does while the run of an earlier one goes on."""

    name: str
    tick: str
    if_running: str


def create(  # noqa: PLR0913 (one argument a field)
    keys: Keys,
    run_id: str,
    spec: RunSpec,
    *,
    key: str | None = None,
    waiter: str | None = None,
    signature: str = "",
    hold: float | None = None,
    expires: float | None = None,
    trace: str = "",
    tick: ScheduleTick | None = None,
) -> Op[Created]:
    """Writes a run and its parts; or finds the run that has this id, this idempotency key or this turn.

    With `hold` it is a draft, which a message is to bring to life; after so many seconds the dispatcher does, unless
    `expires` seconds have passed by then. One with a `turn` is a draft only where it waits for another run. `trace` is
    the context that the run's spans belong to.
    """
    parts = spec.parts()
    options, targets = spec.packed()
    sizes: list[Value] = []
    for part in parts:
        sizes += [part.size, strict_digest(targets_of(part))]
    key_of_run, waiter = keys.run(run_id), waiter or run_id
    private = {"spec": options, **{f"t:{n}": field for n, field in enumerate(targets)}}
    fields: dict[str, Value] = {"v": VERSION}
    fields |= {name: keys.seal(key_of_run, name, value) for name, value in private.items()}
    if keys.held:
        # Sealed twice, the same options look different: their digest tells that they are the same.
        fields |= {"key": keys.held[0], "opts": hashlib.sha256(options).hexdigest()[:32]}
    if spec.early:
        fields["early"] = 1
    if expires is not None:
        fields["expires_in"] = expires
    if trace:
        fields["trace"] = trace
    if shown := spec.about(hosts=not keys.held):
        fields["about"] = json.dumps(shown, separators=(",", ":"))
    return Op(
        lambda reply: _created(reply, spec.digest),
        [
            *(run_id, keys.prefix, spec.digest, REDISPATCH_MIN, "" if spec.max_wait is None else spec.max_wait),
            *(f"{run_id} {spec.digest}", waiter, keys.seal_text(key_of_run, f"w:{waiter}", signature)),
            *("" if hold is None else hold + REDISPATCH_MIN, tick.if_running if tick else "", outcome_of_stop(CANCEL)),
            tick.tick if tick else "",
            *(len(parts), *sizes, *flat(fields)),
        ],
        [
            *(key_of_run, keys.due, keys.idempotency(key) if key else ""),
            *((keys.tick(tick.name, tick.tick), keys.schedule(tick.name)) if tick else ()),
        ],
        "create",
    )


def promise(keys: Keys, key: str, run_id: str, digest: str) -> Op[Created]:
    """The run of an idempotency key, or the id that its run will have where it is made of the request of this digest.

    That is this one, unless another was promised to the same request before.
    """
    args = (run_id, digest, _PROMISED)
    return Op(lambda reply: _created(reply, digest), args, [keys.idempotency(key)], "promise")


def stamp(keys: Keys, message_id: str, tick: str) -> Op[str]:
    """The tick that a message which names none was first taken for."""
    return Op(bytes.decode, (tick, _AGAIN), [keys.once(message_id, "tick")], "once")


def accept(keys: Keys, run_id: str, waiter: str = "", signature: str = "", *, keep_draft: bool = False) -> Op[int]:
    """Makes a draft live, unless it is to be kept one, and adds a waiting Celery id.

    The number of parts; 0 where there is no such run, `FORGOTTEN` where it has ended and was freed.
    """
    kept = keys.seal_text(keys.run(run_id), f"w:{waiter}", signature)
    args = (run_id, keys.prefix, REDISPATCH_MIN, waiter, kept, "1" if keep_draft else "", sealing_key(keys))
    return Op(_accepted, args, [keys.run(run_id), keys.due], "accept")


def flat(fields: Mapping[str, Value]) -> list[Value]:
    """Names and values, one after the other, as a script takes them."""
    return [one for pair in fields.items() for one in pair]


def _accepted(reply: Sequence[bytes]) -> int:
    return int(reply[1]) if reply[0] == b"ok" else FORGOTTEN if reply[0] == b"forgotten" else 0


def _created(reply: Sequence[bytes], digest: str) -> Created:
    became, run_id = (one.decode() for one in reply)
    if became == "exists":
        run_id, _, digest = run_id.rpartition(" ")
    return Created(run_id, digest, cast("Became", became))
