"""Receive webhooks in a WSGI server: `gunicorn scrape_do_celery.webhooks.wsgi:app`, or mounted below a path.

A WSGI server gives each call a thread or a process until the call has ended. So a slow sender occupies one of them. Put
a proxy before the server that reads whole bodies, or use `scrape_do_celery.webhooks.asgi`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.webhooks.core import Answer, list_headers
from scrape_do_celery.webhooks.service import find_service, put_off

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from celery import Celery

    from scrape_do_celery.webhooks.core import DeliveryIntake

#: Bytes of a body that are read at once.
CHUNK: Final = 65_536
#: Bytes of a refused body that are read and dropped, at most. Many senders report an error, and send again, if a server
#: answers and closes the connection while they send.
_DROPPED: Final = 67_108_864


class WebhookApp:
    """A WSGI app that receives webhooks. It may stand alone, or below any path.

    Args:
        app: the Celery app whose settings and store count. Without it, the app of the process counts.
    """

    def __init__(self, app: Celery | None = None) -> None:
        self._app = app

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a call."""
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        answer = answer_call(environ["REQUEST_METHOD"], path, read_headers(environ), open_body(environ), self._app)
        body = answer.text.encode()
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list_headers(answer, body))
        return [body]


def answer_call(
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]],
    read: Callable[[int], bytes],
    app: Celery | None = None,
) -> Answer:
    """Carry out a call, and return its answer. Raise nothing. `read` returns up to this number of bytes of the body."""
    try:
        service = find_service(app)
        judged = service.judge_call(method, path, headers)
    except Exception as error:  # noqa: BLE001 (each other status than 503 may end the webhook)
        return put_off(error)
    if isinstance(judged, Answer):
        return judged
    _read_body(judged, read)
    return service.end_call(judged)


def open_body(environ: Mapping[str, Any]) -> Callable[[int], bytes]:
    """Return the function that reads the body from the stream of the server, without the limits of frameworks."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        # The server ends the stream where the body ends, also for a body in chunks without a length.
        read: Callable[[int], bytes] = stream.read
        return read
    return _LimitedStream(stream, environ.get("CONTENT_LENGTH", "")).read


def read_headers(environ: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names and values of the headers of a call."""
    for name in environ:
        if name.startswith("HTTP_"):
            yield name.removeprefix("HTTP_").replace("_", "-"), environ[name]
    yield "Content-Length", environ.get("CONTENT_LENGTH", "")


class _LimitedStream:
    """A stream that ends after the announced size: a read behind the body would wait for the sender forever."""

    def __init__(self, stream: Any, size: str) -> None:
        self._stream, self._left = stream, int(size) if size.isascii() and size.isdigit() else 0

    def read(self, size: int) -> bytes:
        chunk: bytes = self._stream.read(min(size, self._left))
        self._left -= len(chunk)
        return chunk


def _read_body(intake: DeliveryIntake, read: Callable[[int], bytes]) -> None:
    """Read the body of a delivery. If the stream breaks, the delivery has what came before."""
    dropped = 0
    try:
        while dropped < _DROPPED and (chunk := read(CHUNK)):
            if intake.wants_more:
                intake.take_chunk(chunk)
            else:
                dropped += len(chunk)
    except Exception:  # noqa: BLE001, S110 (servers and frameworks have errors of their own; the URL was valid)
        pass


#: The app for a server that serves nothing else.
app: Final = WebhookApp()
