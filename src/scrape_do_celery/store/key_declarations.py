"""Declare the type and the expiry of keys, beside the methods that name the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.store.retention import Expiry

F = TypeVar("F", bound="Callable[..., str]")

#: The type and the expiry of the key that each method of `Keys` names.
DECLARED: Final[dict[str, tuple[str, Expiry | int]]] = {}


def holds(kind: Literal["hash", "set", "string", "zset"], life: Expiry | int) -> Callable[[F], F]:
    """Declare the Redis type of the key that a method names, and the life of the key, by a name of `retention`.

    The docstring of the method says what the key holds.
    """

    def declare(method: F) -> F:
        DECLARED[method.__name__] = (kind, life)
        return method

    return declare
