"""Digests of the names that users give, for keys of the store."""

from __future__ import annotations

import hashlib
import json


def hash_names(*names: str) -> str:
    """Return one digest of names in their order. JSON keeps `a:x` and `y` apart from `a` and `x:y`."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()
