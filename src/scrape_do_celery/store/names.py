"""Digests of the names that users give, for keys of the store."""

from __future__ import annotations

import hashlib
import json
import re


def hash_names(*names: str) -> str:
    """Return one digest of names in their order. JSON keeps `a:x` and `y` apart from `a` and `x:y`."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def find_hash_tag(prefix: str) -> str:
    """Return the hash tag of a key prefix, which alone decides the slot of a Redis Cluster; empty without a tag."""
    found = re.search(r"\{([^{}]+)\}", prefix)
    return found[1] if found else ""
