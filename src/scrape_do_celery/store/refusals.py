"""Recognise the errors of Redis that pass: an answer that did not come, and refusals for now."""

from __future__ import annotations

import re
from typing import Final

from redis import exceptions
from redis import sentinel as sync_sentinel
from redis.asyncio import sentinel as async_sentinel

#: The code for the answer of sentinels that name no primary.
NO_PRIMARY: Final = "MASTERNOTFOUND"
LOST: Final = (exceptions.ConnectionError, exceptions.TimeoutError)
#: A wrong password is a `ConnectionError` for redis-py. A second try cannot mend it.
_DENIED: Final = (exceptions.AuthenticationError, exceptions.AuthorizationError)
#: Errors of which redis-py drops the code.
_CODES: Final = {
    exceptions.ReadOnlyError: "READONLY",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
    # In this order: the first kind is a kind of the second.
    exceptions.MovedError: "MOVED",
    exceptions.AskError: "ASK",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    sync_sentinel.MasterNotFoundError: NO_PRIMARY,
    async_sentinel.MasterNotFoundError: NO_PRIMARY,
}
_PASSING: Final = "NOREPLICAS|MISCONF|OOM|READONLY|MASTERDOWN|BUSY|LOADING|TRYAGAIN|CLUSTERDOWN"
#: Up to Redis 6.2, the error of a script quotes the error of the command that failed in it.
_CODE: Final = re.compile(rf"^-?({_PASSING})\b|^(?:ERR )?Error running script .* -({_PASSING})\b", re.DOTALL)
#: A script on a node whose slot moves, or has moved, away: servers tell scripts neither `ASK` nor `TRYAGAIN`.
_SLOT_MOVES: Final = re.compile("attempted to access a non local key", re.IGNORECASE)
#: A script on a node that lost the cluster.
_CLUSTER_DOWN: Final = re.compile("attempted to execute a (?:write )?command while the cluster is down", re.IGNORECASE)
#: Reasons of a node that does not have the whole slot now.
SLOT_REASONS: Final = frozenset({"MOVED", "ASK", "TRYAGAIN"})
NEEDS_HASH_TAG: Final = (
    "SCRAPE_DO_REDIS_URL names a Redis Cluster, and SCRAPE_DO_KEY_PREFIX has no hash tag. A store must lie in one "
    "slot, because a run and the due set change in one step: set a prefix with one pair of braces, such as "
    "SCRAPE_DO_KEY_PREFIX={scrape_do}, or use a single server"
)
#: Refusals that another connection, or the next moment, may not meet. Nothing was written, so a repeat is safe.
_REPEATED: Final = frozenset({"READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN"}) | SLOT_REASONS


def find_reason(error: object) -> str:
    """Return the code of a refusal that passes, such as `OOM`; empty for any other error."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if not isinstance(error, exceptions.RedisError):
        return ""
    text = str(error)
    if _SLOT_MOVES.search(text):
        return "TRYAGAIN"
    if _CLUSTER_DOWN.search(text):
        return "CLUSTERDOWN"
    found = _CODE.match(text)
    return (found[1] or found[2]) if found else ""


def is_slot_refusal(error: object) -> bool:
    """Return whether a node of a cluster refused because it does not have the whole slot now."""
    return find_reason(error) in SLOT_REASONS


def needs_hash_tag(error: object) -> bool:
    """Return whether a store whose prefix has no hash tag met a cluster, where its keys lie in many slots."""
    return isinstance(error, exceptions.ClusterCrossSlotError) or is_slot_refusal(error)


def is_passing(error: object) -> bool:
    """Return whether the error ends when the server recovers. Any other error is a fault of this package."""
    return isinstance(error, Exception) and (isinstance(error, LOST) or bool(find_reason(error)))


def is_repeatable(error: object) -> bool:
    """Return whether a second attempt, on a new connection, may succeed at once."""
    if not isinstance(error, Exception) or isinstance(error, _DENIED):
        return False
    return isinstance(error, LOST) or find_reason(error) in _REPEATED
