"""The store's clock, which tests can move ahead of the server's time.

Scripts compute all due times, leases and deadlines from the server's `TIME`. While this clock is installed, each script
is loaded with a few lines in front that add a number of seconds to `TIME`. The number is a key of the store, so that
the text of a script stays the same.
"""

from __future__ import annotations

import itertools
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

import redis

from scrape_do_celery.store import client
from scrape_do_celery.store.commands.stats import ReadClock
from scrape_do_celery.store.scripts import load_scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The part after the test's prefix in the keys that Celery keeps for a test.
CELERY = "celery"
#: Lua code that takes the place of `redis` in a script.
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
#: Seconds after which the name of a dead session is free again.
_SESSION = 86_400
#: The script that replaces a plain `TIME`, which would ignore this clock.
_CLOCK = "local t = redis.call('TIME')\nreturn string.format('%.6f', t[1] + t[2] / 1000000)"


class StoreClock:
    """The clock of the store at a URL, for the stores that this process opens while the clock is installed."""

    def __init__(self, redis_url: str) -> None:
        self.client = redis.Redis.from_url(redis_url)
        # Servers keep each script forever, so sessions reuse a few names. Sessions at the same time need different
        # names.
        names = (f"scrape_do_testing:{number}:ahead" for number in itertools.count())
        self._key = next(name for name in names if self.client.set(name, 0, nx=True, ex=_SESSION))
        self.ahead = 0.0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Make the scripts that are loaded in this context read this clock, which starts at the server's time."""
        plain = load_scripts
        self.set(0.0)
        with (
            patch.object(client, "load_scripts", lambda: self._scripts(plain())),
            patch.multiple(ReadClock, script="clock", decode=lambda _self, _keys, reply: float(reply)),
        ):
            yield

    def _scripts(self, plain: dict[str, str]) -> dict[str, str]:
        ahead = _AHEAD % self._key
        return {name: ahead + text for name, text in {**plain, "clock": _CLOCK}.items()}

    def close(self) -> None:
        """Delete the clock's key in the server, and close the connection."""
        self.client.delete(self._key)
        self.client.close()

    def set(self, ahead: float) -> None:
        """Set the store's time to `ahead` seconds ahead of its server's time."""
        self.ahead = ahead
        self.client.set(self._key, f"{ahead:.6f}", ex=_SESSION)

    def now(self) -> float:
        """Return the store's time, in seconds since 1970."""
        seconds, micros = self.client.time()
        return float(seconds) + float(micros) / 1_000_000 + self.ahead

    def age(self, prefix: str, seconds: float) -> None:
        """Shorten the lifetime of each key with this prefix by `seconds`, and delete keys whose lifetime is over."""
        for key, left in self._expiring_keys(prefix):
            if left <= math.ceil(seconds * 1000):
                self.client.delete(key)
            else:
                self.client.pexpire(key, left - math.ceil(seconds * 1000))

    def _expiring_keys(self, prefix: str) -> Iterator[tuple[bytes, int]]:
        """List the keys that expire, and the milliseconds until each expires."""
        for key in self.client.scan_iter(match=f"{prefix}:*", count=1000):
            if key.startswith(f"{prefix}:{CELERY}:".encode()):
                # Celery's time is not moved.
                continue
            if (left := int(self.client.pttl(key))) >= 0:
                yield key, left
