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
    exceptions.ClusterDownError: "CLUSTERDOWN",
    sync_sentinel.MasterNotFoundError: NO_PRIMARY,
    async_sentinel.MasterNotFoundError: NO_PRIMARY,
}
_PASSING: Final = "NOREPLICAS|MISCONF|OOM|READONLY|MASTERDOWN|BUSY|LOADING|TRYAGAIN|CLUSTERDOWN"
#: Up to Redis 6.2, the error of a script quotes the error of the command that failed in it.
_CODE: Final = re.compile(rf"^-?({_PASSING})\b|^(?:ERR )?Error running script .* -({_PASSING})\b", re.DOTALL)
#: Refusals that another connection, or the next moment, may not meet. Nothing was written, so a repeat is safe.
_REPEATED: Final = frozenset({"READONLY", "MASTERDOWN", "LOADING", "TRYAGAIN"})


def find_reason(error: object) -> str:
    """Return the code of a refusal that passes, such as `OOM`; empty for any other error."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    found = _CODE.match(str(error)) if isinstance(error, exceptions.RedisError) else None
    return (found[1] or found[2]) if found else ""


def is_passing(error: object) -> bool:
    """Return whether the error ends when the server recovers. Any other error is a fault of this package."""
    return isinstance(error, Exception) and (isinstance(error, LOST) or bool(find_reason(error)))


def is_repeatable(error: object) -> bool:
    """Return whether a second attempt, on a new connection, may succeed at once."""
    if not isinstance(error, Exception) or isinstance(error, _DENIED):
        return False
    return isinstance(error, LOST) or find_reason(error) in _REPEATED
