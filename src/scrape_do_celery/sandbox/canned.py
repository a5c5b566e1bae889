from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.sandbox.canned_bodies import BODIES, HTML
from scrape_do_celery.sandbox.encodings import encode_answer
from scrape_do_celery.sandbox.problem import GONE, ApiError
from scrape_do_celery.sandbox.wire import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrape_do_celery.sandbox.faults import Rule

#: The header that `headers` adds, and the length of its line.
_FILLER, _LINE = "X-Sandbox-Filler", 9_000


def canned_answer(rules: Sequence[Rule], age: float | None) -> Response | None:
    """The answer that a rule gives in place of the work; None when the work is to be done.

    ``age`` is how long ago the job of the call was created, if there is one.
    """
    for rule in rules:
        if rule.action == "not_found_at_first" and not (age is not None and age < rule.seconds):
            continue
        make = _CANNED.get(rule.action)
        if make is not None:
            return make(rule)
    return None


def dress_answer(answer: Response, rules: Sequence[Rule]) -> None:
    """Encodes the answer and adds header lines as the rules want it; changes the answer."""
    for rule in rules:
        if rule.action == "encoding":
            encode_answer(answer, str(rule.value), rule.size)
        elif rule.action == "headers":
            filler = "" if rule.headers and rule.size is None else "x" * ((rule.size or _LINE) - len(_FILLER) - 2)
            answer.headers = {**answer.headers, **rule.headers, **({_FILLER: filler} if filler else {})}


def _status(rule: Rule) -> Response:
    headers = dict(rule.headers)
    if rule.retry_after is not None:
        headers["Retry-After"] = str(rule.retry_after)
    if rule.body_kind in BODIES:
        kind, body = BODIES[rule.body_kind]
        return Response(rule.status, body, kind, headers)
    if rule.body_kind is None and (rule.html or rule.body is not None):
        body = HTML if rule.body is None else rule.body.encode()
        return Response(rule.status, body, "text/html" if rule.html else "application/json", headers)
    answer = Response.of(rule.status, ApiError(rule.status, "The sandbox was asked to fail").body())
    answer.headers = headers
    return answer


def _html(rule: Rule) -> Response:
    return Response(200, HTML if rule.body is None else rule.body.encode(), "text/html", dict(rule.headers))


def _redirect(rule: Rule) -> Response:
    return Response(302, b"", "text/html", {"Location": rule.value or "/login", **rule.headers})


_CANNED: dict[str, Callable[[Rule], Response]] = {
    "status": _status,
    "html": _html,
    "empty_204": lambda _: Response(204),
    "redirect_302": _redirect,
    "gone": lambda _: Response.of(410, ApiError(410, GONE).body()),
    "not_found_at_first": lambda _: Response.of(404, ApiError(404, "Job not found").body()),
}
