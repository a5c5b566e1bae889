"""The seconds by which tests have moved the time ahead of the real one."""

from __future__ import annotations

import itertools
import math
import time

import redis

#: The part after the test's prefix in the keys that Celery keeps for a test.
CELERY = "celery"
#: Seconds after which the name of a dead session is free again.
_SESSION = 86_400


class ClockOffset:
    """The offset of the time in a session: in a key for the store's scripts, and in this process for event loops."""

    def __init__(self, redis_url: str) -> None:
        self.client = redis.Redis.from_url(redis_url)
        # Servers keep each script forever, and scripts name the key. Sessions therefore reuse a few keys. Sessions at
        # the same time need different keys.
        keys = (f"scrape_do_testing:{number}:ahead" for number in itertools.count())
        self.key = next(key for key in keys if self.client.set(key, 0, nx=True, ex=_SESSION))
        self.ahead = 0.0

    def close(self) -> None:
        """Delete the key in the server, and close the connection."""
        self.client.delete(self.key)
        self.client.close()

    def set(self, ahead: float) -> None:
        """Set the time to `ahead` seconds ahead of the real time."""
        self.ahead = ahead
        self.client.set(self.key, f"{ahead:.6f}", ex=_SESSION)

    def store_time(self) -> float:
        """Return the store's time, in seconds since 1970."""
        seconds, micros = self.client.time()
        return float(seconds) + float(micros) / 1_000_000 + self.ahead

    def loop_time(self) -> float:
        """Return the time of event loops, in seconds."""
        return time.monotonic() + self.ahead

    def advance_watched(self, prefix: str, seconds: float) -> None:
        """Advance the watched clock of a store, as the passes of a dispatcher would in that time."""
        if self.client.exists(key := f"{prefix}:clock"):
            for field in ("watched", "last"):
                self.client.hincrbyfloat(key, field, seconds)

    def age_keys(self, prefix: str, seconds: float) -> None:
        """Shorten the lifetime of each key with this prefix by `seconds`. Keys whose lifetime is over are deleted."""
        by = math.ceil(seconds * 1000)
        for key in self.client.scan_iter(match=f"{prefix}:*", count=1000):
            # Celery's time is not moved.
            if not key.startswith(f"{prefix}:{CELERY}:".encode()) and (left := int(self.client.pttl(key))) >= 0:
                self.client.pexpire(key, max(0, left - by))
