"""A Redis client that answers checks of the store with given facts."""

from __future__ import annotations

import fakeredis
from redis.exceptions import NoScriptError

FACTS = {"redis_version": "7.2.4", "aof_enabled": 1, "maxmemory_policy": "noeviction"}


class DiagnosedRedis:
    """The part of a Redis client that the checks of a store call."""

    def __init__(self, **facts):
        self.facts = {**FACTS, **facts}
        self.connection_pool = fakeredis.FakeRedis().connection_pool
        self.config, self.encryption_keys = {"appendfsync": "always"}, []

    def info(self, section=None):
        return {"cluster_enabled": self.facts.get("cluster_enabled", 0)} if section == "cluster" else self.facts

    def config_get(self, name):
        if isinstance(self.config, Exception):
            raise self.config
        return {name: self.config[name]}

    def scan_iter(self, match):
        return []

    def hgetall(self, key):
        return {}

    def smembers(self, key):
        return set()

    def zrange(self, key, start, end):
        return []

    def execute_command(self, name, *arguments):
        return {"ZRANGE": self.encryption_keys, "EXISTS": 0, "HMGET": [None] * (len(arguments) - 1), "SMEMBERS": []}[
            name
        ]

    def get_encoder(self):
        return fakeredis.FakeRedis().get_encoder()

    def evalsha(self, *call):
        raise NoScriptError

    def eval(self, *call):
        """Carry out a script on a server without facts."""
        return fakeredis.FakeRedis().eval(*call)

    def pipeline(self, **options):
        return fakeredis.FakeRedis().pipeline(**options)
