"""Mutations of HTTP: status and body, coding, headers, cuts."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from tests.wire.messages import SUCCESS_STATUSES, dumps
from tests.wire.mutation import Mutation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.wire.messages import MutableResponse

STATUSES = (
    *(
        200,
        201,
        202,
        204,
        206,
        301,
        302,
        303,
        307,
        308,
        400,
        401,
        402,
        403,
        404,
        405,
        406,
        407,
        408,
        409,
        410,
        413,
        415,
    ),
    *(418, 421, 422, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 520, 521, 524, 525),
)
_HTML = "<!doctype html><html><head><title>{status}</title></head><body><h1>{status}</h1><hr>nginx</body></html>"
TOO_MANY = 429
#: Redirects: a server that sends a purchase elsewhere has not taken it.
_NOT_TAKEN = (301, 307, 308)
#: Bodies of an answer, by name.
BODIES = ("api", "html", "empty object", "gateway", "gateway's status", "empty", "right", "array", "cut", "echo")
#: Each answer for HTTP mutations, with its scenario.
ENDPOINTS = (
    ("plain", "create"),
    ("plain", "job"),
    ("plain", "task"),
    ("list", "list"),
    ("lost", "list"),
    ("lost", "job"),
    ("refused", "me"),
    ("cancel", "delete"),
)
_MAIN = {("plain", "create"), ("plain", "job"), ("plain", "task")}


def _with_status(status: int, body: str) -> Callable[[MutableResponse], None]:
    def apply(response: MutableResponse) -> None:
        response.status = status
        if 300 <= status < 400:
            response.headers.append(("Location", "https://login.example/sign-in?next=1"))
        if body == "right":
            response.unreadable = status not in SUCCESS_STATUSES
            return
        response.unreadable = True
        if body == "api":
            response.data = {"Error": f"refused with {status}", "Code": status}
            return
        if body in {"html", "echo"}:
            response.headers[0] = ("Content-Type", "text/html")
            text = _HTML.format(status=status) + (
                f"<pre>X-Token: {response.request.token}</pre>" if body == "echo" else ""
            )
            response.body = text.encode()
            return
        response.body = {
            "empty object": b"{}",
            "gateway": json.dumps({"message": "no Route matched", "request_id": "9"}).encode(),
            "gateway's status": json.dumps({"Status": "Error", "Message": "upstream unavailable"}).encode(),
            "empty": b"",
            "array": b"[]",
            "cut": dumps(response.data)[:-9],
        }[body]

    return apply


def _statuses() -> Iterator[Mutation]:
    for scenario, kind in ENDPOINTS:
        main = (scenario, kind) in _MAIN
        for status in STATUSES:
            for body in BODIES if main else ("api", "html", "gateway", "right"):
                if body == "right" and status in SUCCESS_STATUSES:
                    continue
                what, apply = f"{status} {body}", _with_status(status, body)
                facts = {"status": status, "body": body}
                # After 429 the product returns at the announced time: an endless 429 would cause endless steps.
                last = "window" if status == TOO_MANY else "ever"
                spans = {"once", "window"} if main else {"window"}
                if body in {"api", "html"}:
                    spans.add(last)
                if kind != "create" or status not in _NOT_TAKEN:
                    for span in sorted(spans):
                        yield Mutation(scenario, kind, "HTTP status", what, span, apply, facts)
                if kind == "create" and body != "right":
                    for span in ("once", last):
                        yield Mutation(
                            scenario, kind, "HTTP status, not sold", what, span, apply, {**facts, "sold": False}
                        )


def _header(*lines: tuple[str, str]) -> Callable[[MutableResponse], None]:
    return lambda response: response.headers.extend(lines)


def _with(**fields: Any) -> Callable[[MutableResponse], None]:
    def apply(response: MutableResponse) -> None:
        for name, value in fields.items():
            setattr(response, name, value)

    return apply


def _date(text: str | None) -> Callable[[MutableResponse], None]:
    def apply(response: MutableResponse) -> None:
        response.headers = [pair for pair in response.headers if pair[0] != "Date"]
        if text is not None:
            response.headers.append(("Date", text))

    return apply


def _typed(text: str) -> Callable[[MutableResponse], None]:
    def apply(response: MutableResponse) -> None:
        response.headers[0] = ("Content-Type", text)

    return apply


def _body(make: Callable[[bytes], bytes]) -> Callable[[MutableResponse], None]:
    def apply(response: MutableResponse) -> None:
        # The JSON text must stay the same: only the frame differs.
        response.body, response.unreadable = make(dumps(response.data)), True

    return apply


def _waits(status: int, after: str) -> Callable[[MutableResponse], None]:
    def apply(response: MutableResponse) -> None:
        response.status, response.data, response.unreadable = status, {"Error": "slow down", "Code": status}, True
        response.headers.append(("Retry-After", after))

    return apply


def _bomb(response: MutableResponse) -> None:
    response.body, response.label, response.unreadable = (
        gzip.compress(b'{"Content":"' + b" " * 8_000_000 + b'"}', 6),
        "gzip",
        True,
    )


#: Name -> class by which the oracle judges, and the change. `same` carries the right answer in another frame; `trouble`
#: cannot be read; `rich` may be read or not.
FRAMES: dict[str, tuple[str, Callable[[MutableResponse], None]]] = {
    "gzip": ("same", _with(coding="gzip", label="gzip")),
    "gzip, label in capitals": ("same", _with(coding="gzip", label="GZIP")),
    "x-gzip": ("rich", _with(coding="gzip", label="x-gzip")),
    "identity label": ("same", _with(label="identity")),
    "deflate": ("rich", _with(coding="deflate", label="deflate")),
    "label br": ("trouble", _with(label="br")),
    "label zstd": ("trouble", _with(label="zstd")),
    "label unknown": ("trouble", _with(label="x-secret")),
    "label utf-8": ("same", _with(label="utf-8")),
    "label none": ("same", _with(label="none")),
    "label gzip, body plain": ("trouble", _with(label="gzip")),
    "label deflate, body plain": ("trouble", _with(label="deflate")),
    "gzip without label": ("trouble", _with(coding="gzip", unreadable=True)),
    "gzip cut": ("trouble", _with(coding="gzip cut", label="gzip", unreadable=True)),
    "gzip twice": ("rich", _with(coding="gzip twice", label="gzip, gzip")),
    "gzip bomb": ("bomb", _bomb),
    "header of 9 kB": ("same", _header(("X-Long", "v" * 9_000))),
    "header of 60 kB": ("same", _header(("X-Long", "v" * 60_000))),
    "header of 100 kB": ("trouble", _header(("X-Long", "v" * 100_000))),
    "60 headers": ("same", _header(*((f"X-{n}", "v") for n in range(60)))),
    "headers twice": ("same", _header(("Content-Type", "application/json"), ("X-A", "1"), ("X-A", "2"))),
    "cookies": ("same", _header(("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"))),
    "header not ASCII": ("same", _header(("X-Name", "b\u00fccher"))),
    "Retry-After beside a result": ("same", _header(("Retry-After", "7"))),
    "no Date": ("same", _date(None)),
    "Date: garbage": ("same", _date("yesterday")),
    "Date: epoch": ("clock", _date("Thu, 01 Jan 1970 00:00:00 GMT")),
    "Date: 2999": ("clock", _date("Tue, 01 Jan 2999 00:00:00 GMT")),
    "Date: year 99999": ("same", _date("Tue, 01 Jan 99999 00:00:00 GMT")),
    "Date: other zone": ("clock", _date("Sat, 28 Nov 2026 12:00:00 +0530")),
    "text/plain": ("same", _typed("text/plain")),
    "text/html": ("same", _typed("text/html; charset=utf-8")),
    "charset latin-1": ("same", _typed("application/json; charset=iso-8859-1")),
    "charset unknown": ("same", _typed("application/json; charset=x-none")),
    "no Content-Type": ("same", lambda response: response.headers.pop(0) and None),
    "chunked": ("same", _with(chunked=True)),
    "until the connection closes": ("same", _with(close=True)),
    "HTTP/1.0": ("same", _with(version="HTTP/1.0", close=True)),
    "no reason phrase": ("same", _with(reason="")),
    "interim answer 103": ("rich", _with(before=b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")),
    "interim answer 100": ("rich", _with(before=b"HTTP/1.1 100 Continue\r\n\r\n")),
    "line feed around the JSON": ("same", _body(lambda body: b"\r\n " + body + b"\n\n")),
    "byte order mark": ("rich", _body(lambda body: b"\xef\xbb\xbf" + body)),
    "UTF-16": ("rich", _body(lambda body: body.decode().encode("utf-16"))),
    "JSON escaped": ("same", _body(lambda body: json.dumps(json.loads(body), ensure_ascii=True).encode())),
    "UTF-8 plain": (
        "same",
        _body(lambda body: json.dumps(json.loads(body), ensure_ascii=False).encode(errors="surrogatepass")),
    ),
    "more behind the JSON": ("rich", _body(lambda body: body + b"}")),
    "another JSON behind": ("rich", _body(lambda body: body + b"\n" + body)),
    "bytes that are no UTF-8": ("rich", _body(lambda body: body[:-1] + b',"X":"\xff\xfe"}')),
    "JSON in a list": ("rich", _body(lambda body: b"[" + body + b"]")),
    "JSON in a data object": ("rich", _body(lambda body: b'{"data":' + body + b"}")),
    "JSON as a string": ("rich", _body(lambda body: json.dumps(body.decode()).encode())),
    "nothing": ("trouble", _with(cut=0)),
    "cut in the status": ("trouble", _with(cut=7)),
    "cut in the headers": ("trouble", _with(cut=30)),
    "cut at a quarter": ("trouble", _with(cut=0.25)),
    "cut at half": ("trouble", _with(cut=0.5)),
    "cut at three quarters": ("trouble", _with(cut=0.75)),
    "last byte missing": ("trouble", _with(cut=-1)),
    "chunked, cut": ("trouble", _with(chunked=True, cut=-4)),
    "no HTTP": ("trouble", _with(before=b"SSH-2.0-OpenSSH_9.6\r\n", close=True)),
    "no answer": ("trouble", _with(hang=True)),
    **{
        f"{status}, Retry-After {after[:30]!r}": ("wait", _waits(status, after))
        for status in (429, 503)
        for after in ("1", "30", "-5", "0", "1e9", "nan", "soon", "Sat, 28 Nov 2026 12:00:00 GMT", "1.5", "9" * 400, "")
    },
}


def _marking_unreadable(sort: str, apply: Callable[[MutableResponse], None]) -> Callable[[MutableResponse], None]:
    """Mark the answer as unreadable if its class allows the client to fail on it."""

    def mark_unreadable(response: MutableResponse) -> None:
        apply(response)
        response.unreadable = response.unreadable or sort in {"trouble", "rich"}

    return mark_unreadable


def _frames() -> Iterator[Mutation]:
    for scenario, kind in ENDPOINTS:
        for what, (sort, apply) in FRAMES.items():
            for span in ("once", "ever") if (scenario, kind) in _MAIN else ("ever",):
                if what == "no answer" and span == "ever":
                    # Each case takes the whole time-out, and shows nothing more than a cut at 0.
                    continue
                lasts = "window" if sort == "wait" and span == "ever" else span
                yield Mutation(
                    scenario,
                    kind,
                    "HTTP frame",
                    what,
                    lasts,
                    _marking_unreadable(sort, apply),
                    {"frame": sort, "hang": what == "no answer"},
                )


def http_mutations() -> Iterator[Mutation]:
    """Return each HTTP mutation once."""
    yield from _statuses()
    yield from _frames()
