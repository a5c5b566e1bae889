"""Keep secrets out of what others read: public summaries of requests, and errors without the values of a request.

Logs and monitors show a summary: figures, hosts and options, but no header, cookie or body.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote_plus, urlsplit

from scrape_do_celery.models.browser_actions import ACTION_CLASSES
from scrape_do_celery.models.plugins.plugin import PLUGINS
from scrape_do_celery.models.public_values import short_text
from scrape_do_celery.outside_text import REDACTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.models import JobCreationRequest

    E = TypeVar("E", bound=ScrapeDoError)

#: Options that are shown with their values. Of the options in `_HIDDEN`, the summary only shows that they are set.
_SHOWN: Final = (
    *("method", "geo_code", "regional_geo_code", "super", "device", "output", "session_id", "credentials"),
    *("raise_on_task_failure", "max_wait", "dedupe", "max_credits"),
)
_HIDDEN: Final = ("headers", "set_cookies", "body", "webhook_url", "webhook_headers", "idempotency_key")
#: Targets whose hosts are compared.
_LOOKED_AT: Final = 20
#: Fields of an action that hold no secret, under the API's names.
_SHOWN_IN_ACTIONS: Final = {"Action"} | {
    str(action.model_fields[name].alias)
    for action in ACTION_CLASSES.values()
    for name in action.SHOWN & action.model_fields.keys()
}
#: Characters of a value that is redacted, at least. A shorter value is hardly a secret, and occurs in any text.
_SHORTEST: Final = 6
#: Characters of a part of a URL that is taken for a secret, at least. Webhooks of chat services end with a secret.
_LONG_SECRET: Final = 20


# Summaries of requests


def request_summary(fields: Mapping[str, Any], *, hosts: bool = True) -> dict[str, Any]:
    """Summarize the fields of a request, which need not be validated."""
    plugin, targets = fields.get("plugin"), fields.get("targets")
    found: dict[str, Any] = {}
    if label := fields.get("label"):
        found["label"] = _short_value(label)
    if hosts and targets is not None and (host := _shown_hosts(targets)):
        found["host"] = host
    if plugin is not None:
        found["plugin"] = _short_value(_plugin_field(plugin, "key") or _plugin_field(plugin, "Key"))
    if fields.get("render") is not None:
        found["render"] = True
    found |= {name: _short_value(value) for name in _SHOWN if (value := fields.get(name)) not in (None, False)}
    if isinstance(tags := fields.get("tags"), list | tuple) and tags:
        found["tags"] = _short_value(", ".join(map(str, tags)))
    if isinstance(extra := fields.get("extra"), dict) and extra:
        found["extra"] = _short_value(", ".join(sorted(map(str, extra))))
    return found | {name: REDACTED for name in _HIDDEN if fields.get(name)}


def request_fields(request: JobCreationRequest) -> dict[str, Any]:
    """Return the fields of a validated request, by name."""
    return {name: getattr(request, name) for name in type(request).model_fields}


def call_summary(args: Sequence[Any], kwargs: Mapping[str, Any], *, hosts: bool = True) -> dict[str, Any]:
    """Summarize a call of the public step, with the number of its targets. The arguments may be wrong in any way."""
    fields: dict[str, Any] = dict(kwargs)
    if args:
        fields["targets"] = args[0]
    inputs = fields.get("targets")
    if inputs is None and fields.get("plugin") is not None:
        inputs = _plugin_field(fields["plugin"], "params") or _plugin_field(fields["plugin"], "Params")
    count = {"targets": len(inputs)} if isinstance(inputs, list | tuple) else {}
    run_id = fields.get("run_id")
    return {**({"run_id": _short_value(run_id)} if run_id else {}), **count, **request_summary(fields, hosts=hosts)}


def schedule_summary(kwargs: Mapping[str, Any], *, hosts: bool = True) -> dict[str, Any]:
    """Summarize a call of the step that beat publishes."""
    request = kwargs.get("request")
    named = {name: _short_value(kwargs[name]) for name in ("name", "tick", "if_running") if kwargs.get(name)}
    return named | call_summary((), request if isinstance(request, dict) else {}, hosts=hosts)


def message_reprs(run_id: str, summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the message options by which logs, events and Flower show the message of a run."""
    return {"argsrepr": f"({run_id!r},)", "kwargsrepr": repr(dict(summary))}


def name_hosts(summary: Mapping[str, Any]) -> str:
    """Return the host in a summary, with `, ...` if the targets have several; for a plugin, its key; or nothing."""
    return str(summary.get("host") or summary.get("plugin") or "")


def _shown_hosts(targets: Any) -> str:
    if not isinstance(targets, list | tuple):
        return ""
    hosts = dict.fromkeys(filter(None, map(_read_host, targets[:_LOOKED_AT])))
    first = short_text(next(iter(hosts), ""))
    return f"{first}, ..." if len(hosts) > 1 else first


def _read_host(url: Any) -> str:
    try:
        url = url.get("url") if isinstance(url, dict) else getattr(url, "url", url)
        return urlsplit(url).hostname or "" if isinstance(url, str) else ""
    except ValueError:
        return ""


def _plugin_field(plugin: Any, name: str) -> Any:
    return plugin.get(name) if isinstance(plugin, dict) else getattr(plugin, name, None)


def _short_value(value: Any) -> Any:
    """Return a number or a short text. Hide any other value, because no known option has such a value."""
    if isinstance(value, str):
        return short_text(value)
    return value if isinstance(value, bool | int | float) else REDACTED


# Errors without secrets


def redact_error(error: E, request: JobCreationRequest, token: str = "") -> E:
    """Return the error without the token and the private values of the request: webhook, headers, cookies and body."""
    private = _private_spellings(request, token)
    args = tuple(_redact_values(arg, private) for arg in error.args)
    return error if args == error.args else type(error)(*args).with_traceback(error.__traceback__)


def redact_texts(texts: Iterable[str], request: JobCreationRequest, token: str = "") -> list[str]:
    """Return texts of the API without the values that `redact_error` hides."""
    private = _private_spellings(request, token)
    return [_redact_values(text, private) for text in texts]


def redact_values(text: str, value: Any) -> str:
    """Return a text without the texts in a JSON value, such as the options of a file system."""
    private = sorted({form for one in _inner_texts(value) for form in _spellings(one)}, key=len, reverse=True)
    return str(_redact_values(text, private))


def _private_spellings(request: JobCreationRequest, token: str) -> list[str]:
    values = [token, *_private_values(request)]
    return sorted({form for value in values for form in _spellings(value)}, key=len, reverse=True)


def _private_values(request: JobCreationRequest) -> Iterator[str]:
    cookies = [request.set_cookies or ""]
    for headers in (request.headers, request.webhook_headers):
        for name, value in (headers or {}).items():
            yield value
            # The credentials follow the scheme of an Authorization header.
            yield value.partition(" ")[2]
            cookies += [value] if name.lower() == "cookie" else []
    yield from _url_values(request.webhook_url or "")
    yield request.body or ""
    yield from _body_values(request.body or "")
    # Nobody knows yet which new fields are secret.
    yield from _inner_texts(request.extra)
    if request.render is not None:
        yield from _inner_texts(request.render.extra)
        # The text of `Fill` may be a password, and a script may hold one.
        for action in request.render.play_with_browser or ():
            fields = action.to_wire()
            yield from _inner_texts([fields[name] for name in fields if name not in _SHOWN_IN_ACTIONS])
    if request.plugin is not None:
        # The parameters of a plugin that this package knows are searches and ids; nobody knows those of another one.
        is_known = request.plugin.key in PLUGINS
        yield from _inner_texts([one.get("extra") if is_known else one for one in request.plugin.params])
    yield from cookies
    yield from (pair.partition("=")[2].strip() for text in cookies for pair in text.split(";"))


def _url_values(url: str) -> Iterator[str]:
    """Return what follows the host in the URL of a webhook, and the end of its path, if they are as long as secrets."""
    rest = url.partition("://")[2].partition("/")[2]
    end = rest.partition("?")[0].rpartition("/")[2]
    yield from (text for text in (rest, end) if len(text) >= _LONG_SECRET)


def _body_values(body: str) -> Iterator[str]:
    """Return the values of a body: the texts of JSON, or the values of a form, both encoded and decoded."""
    try:
        yield from _inner_texts(json.loads(body))
    except (ValueError, RecursionError):
        for pair in body.split("&"):
            value = pair.partition("=")[2]
            yield value
            yield unquote_plus(value)


def _inner_texts(value: Any) -> Iterator[str]:
    """Return the texts of a JSON value."""
    inner = [value]
    while inner:
        one = inner.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, (dict, list)):
            inner += one.values() if isinstance(one, dict) else one


def _spellings(value: str) -> Iterator[str]:
    """Return a value as it is, and as JSON bodies write it."""
    if len(value) >= _SHORTEST:
        yield value
        for plain in (True, False):
            text = json.dumps(value, ensure_ascii=plain)[1:-1]
            yield text
            yield text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _redact_values(value: Any, private: list[str]) -> Any:
    if isinstance(value, str):
        for secret in private:
            value = value.replace(secret, REDACTED)
        for secret in private:
            value = _redact_cut_end(value, secret)
        return value
    if isinstance(value, dict):
        return {name: _redact_values(inner, private) for name, inner in value.items()}
    return [_redact_values(inner, private) for inner in value] if isinstance(value, list) else value


def _redact_cut_end(text: str, secret: str) -> str:
    """Redact the beginning of a secret at the end of a text, because long answers of the API are cut."""
    for size in range(min(len(secret), len(text)), _SHORTEST - 1, -1):
        if text.endswith(secret[:size]):
            return text[:-size] + REDACTED
    return text
