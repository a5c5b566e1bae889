"""Put names that users choose into the keys of the store."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final

#: Bytes of a part of a key, at most. Names and ids that are accepted are shorter.
_LONGEST: Final = 5_000
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
#: The ticks that `rules.schedules.tick` names: seconds since the epoch, or a minute.
_TICK: Final = re.compile(r"(.*:)?(\d+|\d{4}-\d\d-\d\dT\d\d:\d\dZ)", re.DOTALL)


def join_names(*names: str) -> str:
    """Return the names in their order as one part of a key.

    The part is `<name>:<name>`. If the part is long, or other names could make it, the part is a digest. Short names
    stay readable, and an upgrade finds the keys that an earlier version made of them.
    """
    return _join(names, is_unique=not any(":" in name for name in names[:-1]))


def join_tick(name: str, tick: str) -> str:
    """Return the name of a schedule and its tick as one part of a key, as `join_names` does.

    The form of a tick shows where the name ends, so a name with colons needs no digest. With another key, two versions
    of this package would each buy the same tick.
    """
    found = _TICK.fullmatch(tick)
    return _join((name, tick), is_unique=not found[1] if found else ":" not in name)


def _join(names: tuple[str, ...], *, is_unique: bool) -> str:
    joined = ":".join(names)
    if is_unique and not _DIGEST.fullmatch(joined) and len(joined.encode(errors="surrogatepass")) <= _LONGEST:
        return joined
    # JSON keeps `a:x` and `y` apart from `a` and `x:y`.
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def find_hash_tag(prefix: str) -> str:
    """Return the hash tag of a key prefix, which alone decides the slot of a Redis Cluster; empty without a tag."""
    found = re.search(r"\{([^{}]+)\}", prefix)
    return found[1] if found else ""
