"""A Redis client that answers checks of the store with given facts."""

from __future__ import annotations

import fakeredis

FACTS = {"redis_version": "7.2.4", "aof_enabled": 1, "maxmemory_policy": "noeviction"}


class DiagnosedRedis:
    """The part of a Redis client that the checks of a store call."""

    def __init__(self, **facts):
        self.facts = {**FACTS, **facts}
        self.config, self.encryption_keys = {"appendfsync": "always"}, []
        #: The key of each open breaker -> since when the API refuses the token.
        self.open_breakers = {}

    def info(self, section=None):
        return {"cluster_enabled": self.facts.get("cluster_enabled", 0)} if section == "cluster" else self.facts

    def config_get(self, name):
        if isinstance(self.config, Exception):
            raise self.config
        return {name: self.config[name]}

    def scan_iter(self, match):
        return list(self.open_breakers)

    def hget(self, key, field):
        return {"since": self.open_breakers.get(key)}[field]

    def smembers(self, key):
        return set()

    def zrange(self, key, start, end):
        return []

    def execute_command(self, name, *_):
        return {"ZRANGE": self.encryption_keys}[name]

    def register_script(self, text):
        """Return the script that reads the clock: the checks call no other."""
        return lambda keys, args: b"1.0"

    def pipeline(self, **options):
        return fakeredis.FakeRedis().pipeline(**options)
