"""What instruments httpx (OpenTelemetry's package, or another) wraps its own transports. Ours are wrapped alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

T = TypeVar("T")


def wrapped_as(theirs: Callable[..., Any], ours: Callable[[httpx.Request], T]) -> Callable[[httpx.Request], T]:
    """`ours`, behind whatever wraps `theirs` now, a method of a transport of httpx's; mostly nothing does.

    Such wrappers are wrapt's: a function of what it wraps, its instance, arguments, keyword arguments.
    """
    wrapper = getattr(theirs, "_self_wrapper", None)
    if wrapper is None:
        return ours
    inner = wrapped_as(theirs.__wrapped__, ours)  # type: ignore[attr-defined]
    return lambda request: wrapper(inner, None, (request,), {})
