"""List the keys that `Keys` declares, for the table of keys in the documentation and for tests."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any, Final

from scrape_do_celery.store.key_declarations import DECLARED
from scrape_do_celery.store.keys import Keys
from scrape_do_celery.store.retention import Expiry, describe_life

#: The placeholders of arguments in the pattern of a key, if they differ from the arguments' names.
_PLACEHOLDERS: Final = {"run_id": "<run>", "part_id": "<run>:<n>", "job_id": "<job>", "message_id": "<message>"}


@dataclass(frozen=True, slots=True)
class DeclaredKey:
    """The declaration of a key. `pattern` is its name with `P` as the prefix and `<...>` for each argument."""

    name: str
    pattern: str
    kind: str
    content: str
    life: Expiry | int

    @property
    def expiry(self) -> str:
        """The text of the life of the key."""
        return self.life if isinstance(self.life, Expiry) else describe_life(self.life)


def declared_keys() -> list[DeclaredKey]:
    """Return the declaration of each key, in the order of the methods."""
    return [_declaration(name, kind, life) for name, (kind, life) in DECLARED.items()]


def _declaration(name: str, kind: str, life: Expiry | int) -> DeclaredKey:
    member: Any = inspect.getattr_static(Keys, name)
    method: Any = member.fget if isinstance(member, property) else member
    arguments = {one: _PLACEHOLDERS.get(one, f"<{one}>") for one in list(inspect.signature(method).parameters)[1:]}
    pattern: str = method(Keys("P"), **arguments)
    hashed = ", ".join(one.strip("<>") for one in arguments.values() if one not in pattern)
    pattern = re.sub("[0-9a-f]{64}", f"<sha256 of {hashed}>", pattern)
    lines = " ".join((method.__doc__ or "").split()).removesuffix(".")
    return DeclaredKey(name, pattern, kind, lines.split("The key of ")[-1].split("Return the key of ")[-1], life)
