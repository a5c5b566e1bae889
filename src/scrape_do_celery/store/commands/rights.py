"""The command that checks the rights of the store's user, by one call of each Redis command that the store needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.store.command import Command, Encoded

if TYPE_CHECKING:
    from scrape_do_celery.store.keys import Keys

#: One call of each command that scripts and plain commands use. The key has one type at a time.
CALLS: Final = (
    *("DEL KEY", "SET KEY 1 EX 60", "GET KEY", "MGET KEY", "EXISTS KEY", "EXPIRE KEY 60", "PERSIST KEY", "INCR KEY"),
    *("DEL KEY", "HSET KEY a 1", "HSETNX KEY b 1", "HGET KEY a", "HMGET KEY a", "HGETALL KEY", "HKEYS KEY"),
    *("HVALS KEY", "HEXISTS KEY a", "HINCRBY KEY a 1", "HINCRBYFLOAT KEY a 1", "HDEL KEY b", "HLEN KEY"),
    "HRANDFIELD KEY 1 WITHVALUES",
    *("DEL KEY", "ZADD KEY 1 a 2 b", "ZCARD KEY", "ZCOUNT KEY -inf +inf", "ZRANGE KEY 0 -1", "ZSCORE KEY a"),
    *("ZRANGEBYSCORE KEY -inf +inf", "ZSCAN KEY 0", "ZREM KEY a", "ZPOPMIN KEY", "ZREMRANGEBYRANK KEY 0 -1"),
    *("ZREVRANGEBYSCORE KEY +inf -inf", "ZREMRANGEBYSCORE KEY -inf +inf", "TTL KEY"),
    *("DEL KEY", "SADD KEY a", "SMEMBERS KEY", "DEL KEY", "TIME"),
)
#: The words of a refusal that ends only if the user gets other rights: Redis from 7.0, Valkey, Redis 6.2.
_NO_RIGHT: Final = re.compile(r"NOPERM|ACL failure|The user executing the script")


def lacks_right(reason: str) -> bool:
    """Return whether a refusal in these words ends only if the user gets other rights."""
    return _NO_RIGHT.search(reason) is not None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A Redis command that the server refuses, with the server's reason."""

    name: str
    reason: str

    @property
    def is_for_good(self) -> bool:
        """Whether the user lacks the right. Any other refusal, such as of a full store, may pass."""
        return lacks_right(self.reason)


@dataclass(frozen=True, slots=True)
class CheckRights(Command[tuple[Refusal, ...]]):
    """Write to a key of the store as all scripts do. The result is the commands that the server refuses."""

    script = "check_rights"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(CALLS, [keys.rights_check])

    def decode(self, keys: Keys, reply: Any) -> tuple[Refusal, ...]:
        pairs = (one.decode().partition(" ") for one in reply)
        # A refused DEL makes later calls meet a key of the wrong type. Their error is no reason of its own.
        return tuple(Refusal(name, reason) for name, _, reason in pairs if "WRONGTYPE" not in reason)
