"""Apply the faults of fault rules to an answer: to its status, its headers and its body."""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.hdrs import CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER
from multidict import CIMultiDict

from scrape_do_sandbox.encodings import encode_body
from scrape_do_sandbox.mutations import WHOLE, mutate_at
from scrape_do_sandbox.spec import GONE, ApiError
from scrape_do_sandbox.timers import ZERO_TIME, format_time, parse_time
from scrape_do_sandbox.url_writers import write_url
from scrape_do_sandbox.views import JSON_TYPE, body_of, json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scrape_do_sandbox.faults import FaultRule
    from scrape_do_sandbox.options import SandboxOptions

_TIMES = ("StartTime", "EndTime", "UpdateTime", "ExpiresAt", "WebhookRequestTime")
_KEPT = ("Jobs", "Code")

HTML = b"<!doctype html><html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"
#: Kind -> content type and body. The API's own body contains the status, so `fault_response` builds it.
BODIES: dict[str, tuple[str, bytes]] = {
    "html": ("text/html", HTML),
    "gateway": ("application/json", b'{"message":"no Route matched with those values","request_id":"3b1f"}'),
    "empty_object": ("application/json", b"{}"),
    "empty_list": ("application/json", b"[]"),
    "null": ("application/json", b"null"),
    "text": ("text/plain", b"upstream connect error or disconnect/reset before headers"),
    "empty": ("application/json", b""),
}


def apply_body_faults(body: dict[str, Any], rules: Iterable[FaultRule]) -> Any:
    """Apply the body faults of the rules in place, and return the result.

    Mutations come last; their result need not be an object.
    """
    for rule in rules:
        apply = _BODY_FAULTS.get(rule.action)
        for part in _walk_objects(body) if apply else ():
            apply(part, rule)  # type: ignore[misc]
    return mutate_body(body, rules)


def mutate_body(body: Any, rules: Iterable[FaultRule]) -> Any:
    """Apply only the mutations, as error bodies need it, and return the result."""
    for rule in rules:
        for path in (rule.fields or (WHOLE,)) if rule.action == "mutate" else ():
            body = mutate_at(body, str(rule.value), path)
    return body


def show_body(body: dict[str, Any], options: SandboxOptions) -> dict[str, Any]:
    """Change the body to the form in which a server with these options writes it, and return it."""
    for part in _walk_objects(body) if options.start_skew else ():
        _set_back(part, options.start_skew)
    return write_urls(body, options.urls)


def _set_back(part: dict[str, Any], seconds: float) -> None:
    for name in _TIMES:
        if part.get(name) and part[name] != ZERO_TIME:
            part[name] = format_time(parse_time(part[name]) - seconds)


def _walk_objects(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """List the body, the jobs in it and the task summaries in them, innermost first."""
    for name in ("Jobs", "Tasks"):
        for entry in body.get(name) or ():
            yield from _walk_objects(entry)
    yield body


def _set_nulls(part: dict[str, Any], rule: FaultRule) -> None:
    for name, value in part.items():
        if name in rule.fields if rule.fields is not None else _may_be_null(name, value):
            part[name] = None


def _may_be_null(name: str, value: Any) -> bool:
    return isinstance(value, (dict, list, int)) and name not in _KEPT


def _list_headers(part: dict[str, Any], _: FaultRule) -> None:
    if part.get("ResponseHeaders"):
        part["ResponseHeaders"] = {name: [value] for name, value in part["ResponseHeaders"].items()}


def _zero_times(part: dict[str, Any], _: FaultRule) -> None:
    for name in _TIMES:
        if name in part and part[name] is None:
            part[name] = ZERO_TIME


def _each_time(change: Callable[[str, FaultRule], str]) -> Callable[[dict[str, Any], FaultRule], None]:
    def apply(part: dict[str, Any], rule: FaultRule) -> None:
        part.update({name: change(part[name], rule) for name in _TIMES if part.get(name)})

    return apply


def _unknown_status(part: dict[str, Any], rule: FaultRule) -> None:
    if "Status" in part:
        part["Status"] = rule.value or "reticulating"


def _add_fraction(part: dict[str, Any], _: FaultRule) -> None:
    if "AvaliableCredits" in part:
        part["AvaliableCredits"] += 0.5


def _bad_base64(part: dict[str, Any], _: FaultRule) -> None:
    if part.get("Content"):
        # Add a stray character and a length that no padding can repair, so that lenient and strict decoders both fail.
        good = base64.b64encode(part["Content"].encode()).decode().rstrip("=")
        part |= {"Base64EncodedContent": True, "Content": "*" + good + "A" * ((1 - len(good)) % 4)}


def _shuffle_ids(part: dict[str, Any], rule: FaultRule) -> None:
    for name in ("TaskIDs", "Tasks"):
        if part.get(name):
            before = list(part[name])
            random.Random(f"{rule.seed}{name}{part['JobID']}").shuffle(part[name])
            if part[name] == before:
                part[name].reverse()


def write_urls(body: dict[str, Any], writer: str) -> dict[str, Any]:
    """Rewrite each URL in the body as `writer` does, and return the body."""
    for part in _walk_objects(body) if writer != "verbatim" else ():
        _write_url(part, writer)
    return body


def _write_url(part: dict[str, Any], writer: str) -> None:
    if isinstance(part.get("URL"), str):
        part["URL"] = write_url(part["URL"], writer)


_BODY_FAULTS: dict[str, Callable[[dict[str, Any], FaultRule], None]] = {
    "nulls": _set_nulls,
    "list_headers": _list_headers,
    "zero_times": _zero_times,
    "naive_times": _each_time(lambda text, _: text.removesuffix("Z")),
    "skew": _each_time(lambda text, rule: format_time(parse_time(text) + rule.seconds)),
    "start_skew": lambda part, rule: _set_back(part, rule.seconds),
    "unknown_status": _unknown_status,
    "fractional_credits": _add_fraction,
    "bad_base64": _bad_base64,
    "shuffle_task_ids": _shuffle_ids,
    # The older name of the action that rewrites URLs as pydantic, and with it the peer SDK, does.
    "normalise_urls": lambda part, _: _write_url(part, "pydantic"),
    "write_urls": lambda part, rule: _write_url(part, rule.value or "verbatim"),
}


#: The header that `headers` adds, and the length of its line.
_FILLER, _LINE = "X-Sandbox-Filler", 9_000


def fault_response(rules: Sequence[FaultRule], age: float | None) -> web.Response | None:
    """Return the answer that a rule gives instead of the work, or None if the work goes on.

    `age` is the number of seconds since the call's job was created, or None if no such job exists.
    """
    for rule in rules:
        if rule.action == "not_found_at_first" and not (age is not None and age < rule.seconds):
            continue
        make = _RESPONSES.get(rule.action)
        if make is not None:
            return make(rule)
    return None


def apply_header_faults(answer: web.Response, rules: Sequence[FaultRule]) -> None:
    """Encode the answer and add header lines, in place, as the rules say."""
    for rule in rules:
        if rule.action == "encoding":
            answer.headers[CONTENT_ENCODING], answer.body = encode_body(body_of(answer), str(rule.value), rule.size)
    for rule in rules:
        if rule.action == "headers":
            # A rule may add another length. The true length comes first, so that the whole body is still sent.
            answer.headers.setdefault(CONTENT_LENGTH, str(len(body_of(answer))))
            add_header_lines(answer.headers, rule)


def add_header_lines(headers: CIMultiDict[str], rule: FaultRule) -> None:
    """Add the header lines of a rule, in place."""
    headers.extend(rule.headers)
    if rule.size is not None or not rule.headers:
        headers[_FILLER] = "x" * ((rule.size or _LINE) - len(_FILLER) - 2)


def _make_response(status: int, body: bytes, content_type: str, headers: dict[str, str]) -> web.Response:
    return web.Response(status=status, body=body, headers=CIMultiDict({CONTENT_TYPE: content_type, **headers}))


def _make_status(rule: FaultRule) -> web.Response:
    headers = dict(rule.headers)
    if rule.retry_after is not None:
        headers[RETRY_AFTER] = str(rule.retry_after)
    if rule.body_kind in BODIES:
        kind, body = BODIES[rule.body_kind]
        return _make_response(rule.status, body, kind, headers)
    if rule.body_kind is None and (rule.html or rule.body is not None):
        body = HTML if rule.body is None else rule.body.encode()
        return _make_response(rule.status, body, "text/html" if rule.html else JSON_TYPE, headers)
    answer = json_response(rule.status, ApiError(rule.status, "The sandbox was asked to fail").body())
    answer.headers.update(headers)
    return answer


def _make_html(rule: FaultRule) -> web.Response:
    return _make_response(200, HTML if rule.body is None else rule.body.encode(), "text/html", rule.headers)


def _make_redirect(rule: FaultRule) -> web.Response:
    return _make_response(302, b"", "text/html", {LOCATION: rule.value or "/login", **rule.headers})


_RESPONSES: dict[str, Callable[[FaultRule], web.Response]] = {
    "status": _make_status,
    "html": _make_html,
    "empty_204": lambda _: web.Response(status=204),
    "redirect_302": _make_redirect,
    "gone": lambda _: json_response(410, ApiError(410, GONE).body()),
    "not_found_at_first": lambda _: json_response(404, ApiError(404, "Job not found").body()),
}
