"""What instruments httpx (OpenTelemetry's package, or another) wraps its own transports. Ours are wrapped alike.

It may note an error with its whole text, so one that shows the token comes to it without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import httpx

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


def wrapped(theirs: Callable[..., Any], ours: Callable[[httpx.Request], T]) -> Callable[[httpx.Request], T]:
    """`ours`, behind whatever wraps `theirs` now, a method of a transport of httpx's; mostly nothing does."""

    def careful(request: httpx.Request) -> T:
        try:
            return ours(request)
        except httpx.HTTPError as error:
            if not _shows_token(error, request):
                raise
            kind = type(error)
        raise _silent(kind, request)

    return _behind(theirs, careful) if _wrapper(theirs) else ours


def wrapped_async(
    theirs: Callable[..., Any], ours: Callable[[httpx.Request], Awaitable[T]]
) -> Callable[[httpx.Request], Awaitable[T]]:
    """As `wrapped`, for coroutines."""

    async def careful(request: httpx.Request) -> T:
        try:
            return await ours(request)
        except httpx.HTTPError as error:
            if not _shows_token(error, request):
                raise
            kind = type(error)
        raise _silent(kind, request)

    return _behind(theirs, careful) if _wrapper(theirs) else ours


def plain(theirs: Callable[..., T]) -> Callable[..., T]:
    """A method as it was before anything wrapped it."""
    return plain(theirs.__wrapped__) if _wrapper(theirs) else theirs  # type: ignore[attr-defined]


def _behind(theirs: Any, ours: Callable[[httpx.Request], T]) -> Callable[[httpx.Request], T]:
    wrapper = _wrapper(theirs)
    if wrapper is None:
        return ours
    inner = _behind(theirs.__wrapped__, ours)
    return lambda request: wrapper(inner, None, (request,), {})


def _wrapper(method: Any) -> Any:
    """What wraps a method, of wrapt's kind: called with what it wraps, its instance, arguments, keyword arguments."""
    return getattr(method, "_self_wrapper", None)


def _shows_token(error: BaseException | None, request: httpx.Request) -> bool:
    """Whether an error, or one behind it, quotes the token: what a broken peer echoes is in their texts."""
    token = request.headers.get("X-Token", "")
    while error is not None:
        if token and token in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _silent(kind: type[httpx.HTTPError], request: httpx.Request) -> httpx.HTTPError:
    error = kind("its text shows the token")
    error.request = request
    return error
