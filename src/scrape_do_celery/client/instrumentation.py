"""Wrappers that let tools such as OpenTelemetry's httpx package instrument our transports like httpx's own.

Such a tool may record each header, and the whole text of an error. So the token is added behind the tool, and an error
text that shows the token is left out.
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
    """Return `ours` inside the present wrappers of `theirs`, a method of an httpx transport. Usually there are none."""
    if _find_wrapper(theirs) is None:
        return ours

    def send_instrumented(request: httpx.Request) -> T:
        token = request.headers.pop(_TOKEN, "")

        def send_with_token(request: httpx.Request) -> T:
            with _with_token(request, token):
                return ours(request)

        return _call_through(theirs, send_with_token, request)

    return send_instrumented


def instrumented_async(
    theirs: Callable[..., Any], ours: Callable[[httpx.Request], Awaitable[T]]
) -> Callable[[httpx.Request], Awaitable[T]]:
    """Do the same as `instrumented` for coroutines."""
    if _find_wrapper(theirs) is None:
        return ours

    async def send_instrumented(request: httpx.Request) -> T:
        token = request.headers.pop(_TOKEN, "")

        async def send_with_token(request: httpx.Request) -> T:
            with _with_token(request, token):
                return await ours(request)

        return await _call_through(theirs, send_with_token, request)

    return send_instrumented


def unwrapped(theirs: Callable[..., T]) -> Callable[..., T]:
    """Return a method without its wrappers."""
    return unwrapped(theirs.__wrapped__) if _find_wrapper(theirs) else theirs  # type: ignore[attr-defined]


def _call_through(theirs: Any, ours: Callable[[httpx.Request], T], request: httpx.Request) -> T:
    wrapper = _find_wrapper(theirs)
    if wrapper is None:
        return ours(request)
    answer: T = wrapper(lambda request: _call_through(theirs.__wrapped__, ours, request), None, (request,), {})
    return answer


def _find_wrapper(method: Any) -> Any:
    """Return a method's wrapt wrapper, or None. A call needs the wrapped method, instance, arguments and keywords."""
    return getattr(method, "_self_wrapper", None)


@contextmanager
def _with_token(request: httpx.Request, token: str) -> Iterator[None]:
    if token:
        request.headers[_TOKEN] = token
    try:
        yield
    except Exception as error:
        if not _shows_token(error, token):
            raise
        kind = type(error) if isinstance(error, httpx.RequestError) else httpx.RemoteProtocolError
        silent = kind("its text shows the token")
        silent.request = request
        raise silent from None
    finally:
        request.headers.pop(_TOKEN, None)


def _shows_token(error: BaseException | None, token: str) -> bool:
    """Return whether an error, or one of its causes, quotes the token, because a broken peer echoed it."""
    while error is not None:
        if token and token in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
