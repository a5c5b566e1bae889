"""Make the call of a webhook, with the faults of fault rules in its body, in its headers, and in the sending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp.hdrs import CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT
from multidict import CIMultiDict

from scrape_do_sandbox.encodings import encode_body
from scrape_do_sandbox.mutations import MISSING
from scrape_do_sandbox.response_faults import BODIES, HTML, add_header_lines, apply_body_faults
from scrape_do_sandbox.views import JSON_TYPE, encode_json
from scrape_do_sandbox.webhook_calls import WebhookCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrape_do_sandbox.faults import FaultRule

AGENT = "Mozilla/5.0 (compatible; scrape-do-sandbox)"
#: The content that `webhook_other_content` sends, if the rule has no `body`.
OTHER_CONTENT = "<!doctype html><html><body>This is not the page of the task.</body></html>"


def make_call(url: str, body: dict[str, Any], given: dict[str, str], rules: Sequence[FaultRule]) -> WebhookCall:
    """Return the call of a webhook. `given` are the headers that the caller of the API wants."""
    by_action = {rule.action: rule for rule in rules}
    for rule in rules:
        if rule.action in _CONTENT_FAULTS:
            _CONTENT_FAULTS[rule.action](body, rule)
    mutated = apply_body_faults(body, rules)
    call = WebhookCall(url, b"" if mutated is MISSING else encode_json(mutated))
    headers: dict[str, str] = {} if "webhook_no_headers" in by_action else given
    call.headers = CIMultiDict({CONTENT_TYPE: JSON_TYPE, USER_AGENT: AGENT})
    call.headers.update(headers)
    for rule in rules:
        if rule.action in _CALL_FAULTS:
            _CALL_FAULTS[rule.action](call, rule)
    return call


def _trim_content(body: dict[str, Any], rule: FaultRule) -> None:
    body["Content"] = body["Content"][: rule.size or 0]


def _set_other_content(body: dict[str, Any], rule: FaultRule) -> None:
    if body["Content"]:
        body |= {"Base64EncodedContent": False, "Content": OTHER_CONTENT if rule.body is None else rule.body}


_CONTENT_FAULTS: dict[str, Callable[[dict[str, Any], FaultRule], None]] = {
    "webhook_trim": _trim_content,
    "webhook_other_content": _set_other_content,
}


def _replace_body(call: WebhookCall, rule: FaultRule) -> None:
    if rule.body is None:
        call.headers[CONTENT_TYPE], call.body = BODIES.get(rule.body_kind or "html", ("text/html", HTML))
    else:
        call.body = rule.body.encode()


def _encode_body(call: WebhookCall, rule: FaultRule) -> None:
    call.headers[CONTENT_ENCODING], call.body = encode_body(call.body, str(rule.value), rule.size)


def _send_chunked(call: WebhookCall, _: FaultRule) -> None:
    call.chunked = True


def _send_slowly(call: WebhookCall, rule: FaultRule) -> None:
    call.pause = rule.seconds


def _cut_body(call: WebhookCall, _: FaultRule) -> None:
    call.sent = len(call.body) // 2


def _reset_connection(call: WebhookCall, _: FaultRule) -> None:
    call.sent = len(call.body)


#: The faults of a call, in the order of the rules.
_CALL_FAULTS: dict[str, Callable[[WebhookCall, FaultRule], None]] = {
    "webhook_body": _replace_body,
    "encoding": _encode_body,
    "headers": lambda call, rule: add_header_lines(call.headers, rule),
    "webhook_chunked": _send_chunked,
    "drip": _send_slowly,
    "cut": _cut_body,
    "reset_after": _reset_connection,
}
