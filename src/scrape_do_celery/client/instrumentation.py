"""What instruments httpx (OpenTelemetry's package, or another) wraps its own transports. Ours are wrapped alike.

It may note each header, and an error with its whole text: the token is put in behind it, and such a text left out.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

_TOKEN: Final = "X-Token"  # noqa: S105 (the name of a header)


def instrumented(theirs: Callable[..., Any], ours: Callable[[httpx.Request], T]) -> Callable[[httpx.Request], T]:
    """`ours`, behind whatever wraps `theirs` now, a method of a transport of httpx's; mostly nothing does."""
    if _wrapper(theirs) is None:
        return ours

    def send(request: httpx.Request) -> T:
        token = request.headers.pop(_TOKEN, "")

        def inner(request: httpx.Request) -> T:
            with _with_token(request, token):
                return ours(request)

        return _call_through(theirs, inner, request)

    return send


def instrumented_async(
    theirs: Callable[..., Any], ours: Callable[[httpx.Request], Awaitable[T]]
) -> Callable[[httpx.Request], Awaitable[T]]:
    """As `instrumented`, for coroutines."""
    if _wrapper(theirs) is None:
        return ours

    async def send(request: httpx.Request) -> T:
        token = request.headers.pop(_TOKEN, "")

        async def inner(request: httpx.Request) -> T:
            with _with_token(request, token):
                return await ours(request)

        return await _call_through(theirs, inner, request)

    return send


def unwrapped(theirs: Callable[..., T]) -> Callable[..., T]:
    """A method as it was before anything wrapped it."""
    return unwrapped(theirs.__wrapped__) if _wrapper(theirs) else theirs  # type: ignore[attr-defined]


def _call_through(theirs: Any, ours: Callable[[httpx.Request], T], request: httpx.Request) -> T:
    wrapper = _wrapper(theirs)
    if wrapper is None:
        return ours(request)
    answer: T = wrapper(lambda request: _call_through(theirs.__wrapped__, ours, request), None, (request,), {})
    return answer


def _wrapper(method: Any) -> Any:
    """What wraps a method, of wrapt's kind: called with what it wraps, its instance, arguments, keyword arguments."""
    return getattr(method, "_self_wrapper", None)


@contextmanager
def _with_token(request: httpx.Request, token: str) -> Iterator[None]:
    if token:
        request.headers[_TOKEN] = token
    try:
        yield
    except Exception as error:
        if not _shows(error, token):
            raise
        kind = type(error) if isinstance(error, httpx.RequestError) else httpx.RemoteProtocolError
        silent = kind("its text shows the token")
        silent.request = request
        raise silent from None
    finally:
        request.headers.pop(_TOKEN, None)


def _shows(error: BaseException | None, token: str) -> bool:
    """Whether an error, or one behind it, quotes the token: what a broken peer echoes is in their texts."""
    while error is not None:
        if token and token in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
