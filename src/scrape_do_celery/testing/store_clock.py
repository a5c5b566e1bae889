"""The store's clock, moved on for tests: what the scripts of this process read as the time is so many seconds ahead.

All due times, leases and deadlines are reckoned inside the server, from its `TIME`. Scripts that are loaded meanwhile
have a few lines in front which add a number to that. The number is in the store, so that a script stays the same.
"""

from __future__ import annotations

import itertools
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

import redis

from scrape_do_celery.store import client, ops
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.scripts import load_scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What Celery keeps for a test stands behind this, behind the test's prefix.
CELERY = "celery"
#: Takes the place of `redis` in a script.
_AHEAD = """local server = redis
local redis = setmetatable({call = function(command, ...)
  local answer = server.call(command, ...)
  if command == 'TIME' then
    local t = tonumber(answer[1]) + tonumber(answer[2]) / 1000000 + tonumber(server.call('GET', '%s') or 0)
    local whole = math.floor(t)
    answer = {string.format('%%d', whole), string.format('%%d', (t - whole) * 1000000)}
  end
  return answer
end}, {__index = server})
"""
#: Seconds after which the name of a session that has died is free.
_SESSION = 86_400
#: In place of a plain `TIME`, which would not know of this clock.
_CLOCK = "local t = redis.call('TIME')\nreturn string.format('%.6f', t[1] + t[2] / 1000000)"


class StoreClock:
    """The clock of the store at a URL, for the stores that this process opens while it is installed."""

    def __init__(self, redis_url: str) -> None:
        self.client = redis.Redis.from_url(redis_url)
        # Servers keep each script for good: sessions, of which some go on at once, take the same few names.
        names = (f"scrape_do_testing:{number}:ahead" for number in itertools.count())
        self._key = next(name for name in names if self.client.set(name, 0, nx=True, ex=_SESSION))
        self.ahead = 0.0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Meanwhile, scripts that are loaded read this clock, which begins with the server's time."""
        plain = load_scripts
        self.set(0.0)
        with (
            patch.object(client, "load_scripts", lambda: self._scripts(plain())),
            patch.object(ops, "clock", lambda: Command(float, (), (), "clock")),
        ):
            yield

    def _scripts(self, plain: dict[str, str]) -> dict[str, str]:
        ahead = _AHEAD % self._key
        return {name: ahead + text for name, text in {**plain, "clock": _CLOCK}.items()}

    def close(self) -> None:
        """Leaves nothing of it in the server."""
        self.client.delete(self._key)
        self.client.close()

    def set(self, ahead: float) -> None:
        """Lets the store's time be so many seconds ahead of its server's."""
        self.ahead = ahead
        self.client.set(self._key, f"{ahead:.6f}", ex=_SESSION)

    def now(self) -> float:
        """The store's time."""
        seconds, micros = self.client.time()
        return float(seconds) + float(micros) / 1_000_000 + self.ahead

    def age(self, prefix: str, seconds: float) -> None:
        """Takes so many seconds from the life of each key with this prefix; those whose life is over go."""
        for key, left in self._expiring_keys(prefix):
            if left <= math.ceil(seconds * 1000):
                self.client.delete(key)
            else:
                self.client.pexpire(key, left - math.ceil(seconds * 1000))

    def _expiring_keys(self, prefix: str) -> Iterator[tuple[bytes, int]]:
        """The keys that have an end, and the milliseconds until then."""
        for key in self.client.scan_iter(match=f"{prefix}:*", count=1000):
            if key.startswith(f"{prefix}:{CELERY}:".encode()):
                # Nobody moves Celery's time.
                continue
            if (left := int(self.client.pttl(key))) >= 0:
                yield key, left
