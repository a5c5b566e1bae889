"""Read why a run waits from the reply of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.states import PartState
from scrape_do_celery.rules.waits import NO_EVICTION, PartFacts, StoreFacts, decide_wait, list_waits, used_share
from scrape_do_celery.store.retention import NAMESPACE_TTL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.rules.waits import WaitingFor
    from scrape_do_celery.store.records import RunRecord

#: Elements of the reply before the entries of parts or accounts: those of `read_store_facts` in `lib/waits.lua`.
_OF_STORE = 8


def read_wait(record: RunRecord, reply: Sequence[Any], token_id: str) -> WaitingFor | None:
    """Return why a live run waits, by its record and by what `read_run.lua` added to it."""
    store, now, watched = _read_store_facts(reply), float(reply[0]), float(reply[1])
    facts = [
        record.parts[number].facts(
            now - watched,
            **_read_refusal(refusal, token_id),
            ahead=None if ahead == b"" else int(ahead),
            in_line_since=_seconds(in_line_since),
            has_fairness_key=record.has_fairness_key,
        )
        for number, *refusal, ahead, in_line_since in reply[_OF_STORE:]
    ]
    return decide_wait(facts, store)


def read_waits_of_new_run(reply: Sequence[Any], token_id: str) -> list[WaitingFor]:
    """Return all reasons why a run that is enqueued now would wait, by the reply of `check_health.lua`."""
    store = _read_store_facts(reply)
    refusals = [_read_refusal(refusal, token_id) for _, *refusal, _, _ in reply[_OF_STORE:]] or [{}]
    return [wait for one in refusals for wait in list_waits(PartFacts(PartState.QUEUED, **one), store)]


def _read_store_facts(reply: Sequence[Any]) -> StoreFacts:
    now, _, uptime, has_worker, paused_until, used, limit, policy = reply[:_OF_STORE]
    return StoreFacts(
        now=float(now),
        has_worker=has_worker == b"1",
        # A server that has just been started may have lost the lease of its workers, which they renew within that time.
        is_young=bool(uptime) and int(uptime) < NAMESPACE_TTL,
        paused_until=_seconds(paused_until),
        used=used_share(used, limit),
        policy=policy.decode() or NO_EVICTION,
    )


def _read_refusal(row: Sequence[bytes], token_id: str) -> dict[str, Any]:
    """Return the facts of a part about the refusal of its token."""
    refused_since, fails_at, refused = row
    return {
        "refused_since": _seconds(refused_since),
        "fails_at": _seconds(fails_at),
        "has_other_token": bool(token_id and refused) and refused.decode() != token_id,
    }


def _seconds(value: bytes) -> float | None:
    return float(value) if value else None
