"""Put names that users choose into the keys of the store."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final

_LONGEST: Final = 200
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def join_names(*names: str) -> str:
    """Return the names in their order as one part of a key.

    The part is `<name>:<name>`. If the part is long, or other names could make it, the part is a digest. Short names
    stay readable, and an upgrade finds the keys that an earlier version made of them.
    """
    joined = ":".join(names)
    is_unique = not any(":" in name for name in names[:-1]) and not _DIGEST.fullmatch(joined)
    if is_unique and len(joined.encode(errors="surrogatepass")) <= _LONGEST:
        return joined
    # JSON keeps `a:x` and `y` apart from `a` and `x:y`.
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()
