"""Read why a run waits from the reply of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.waits import NO_EVICTION, StoreFacts, decide_wait
from scrape_do_celery.store.retention import NAMESPACE_TTL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.rules.waits import WaitingFor
    from scrape_do_celery.store.records import RunRecord


def read_wait(record: RunRecord, reply: Sequence[Any], token_id: str) -> WaitingFor | None:
    """Return why a live run waits, by its record and by what `read_run.lua` added to it."""
    now, watched, uptime, has_worker, paused_until, used, limit, policy, *parts = reply
    store = StoreFacts(
        now=float(now),
        has_worker=has_worker == b"1",
        # A server that has just been started may have lost the lease of its workers, which they renew within that time.
        is_young=bool(uptime) and int(uptime) < NAMESPACE_TTL,
        paused_until=_seconds(paused_until),
        used=int(used) / int(limit) if used and int(limit or 0) else 0.0,
        policy=policy.decode() or NO_EVICTION,
    )
    facts = [
        record.parts[number].facts(
            float(now) - float(watched),
            refused_since=_seconds(refused_since),
            fails_at=_seconds(fails_at),
            has_other_token=bool(token_id and refused) and refused.decode() != token_id,
            ahead=None if ahead == b"" else int(ahead),
            in_line_since=_seconds(in_line_since),
            has_fairness_key=record.has_fairness_key,
        )
        for number, refused_since, fails_at, refused, ahead, in_line_since in parts
    ]
    return decide_wait(facts, store)


def _seconds(value: bytes) -> float | None:
    return float(value) if value else None
