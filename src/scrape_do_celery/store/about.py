"""The public summary of a request for logs and monitors: figures, hosts, options; no header, cookie or body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.models import JobCreationRequest

#: Options that are shown with their values. Of the options in `_HIDDEN`, the summary only shows that they are set.
_SHOWN: Final = (
    *("method", "geo_code", "regional_geo_code", "super", "device", "output", "session_id", "credentials"),
    *("raise_on_task_failure", "max_wait"),
)
_HIDDEN: Final = ("headers", "set_cookies", "body", "webhook_url", "webhook_headers", "idempotency_key")
REDACTED: Final = "***"
#: Targets whose hosts are compared; characters of the longest text that is shown.
_LOOKED_AT, _LONGEST = 20, 60


def request_summary(fields: Mapping[str, Any], *, hosts: bool = True) -> dict[str, Any]:
    """Summarize the fields of a request, which need not be validated."""
    plugin, targets = fields.get("plugin"), fields.get("targets")
    found: dict[str, Any] = {}
    if hosts and targets is not None and (host := _host(targets)):
        found["host"] = host
    if plugin is not None:
        found["plugin"] = _shown(_get(plugin, "key") or _get(plugin, "Key"))
    if fields.get("render") is not None:
        found["render"] = True
    found |= {name: _shown(value) for name in _SHOWN if (value := fields.get(name)) not in (None, False)}
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
        inputs = _get(fields["plugin"], "params") or _get(fields["plugin"], "Params")
    count = {"targets": len(inputs)} if isinstance(inputs, list | tuple) else {}
    run_id = fields.get("run_id")
    return {**({"run_id": _shown(run_id)} if run_id else {}), **count, **request_summary(fields, hosts=hosts)}


def schedule_summary(kwargs: Mapping[str, Any], *, hosts: bool = True) -> dict[str, Any]:
    """Summarize a call of the step that beat publishes."""
    request = kwargs.get("request")
    named = {name: _shown(kwargs[name]) for name in ("name", "tick", "if_running") if kwargs.get(name)}
    return named | call_summary((), request if isinstance(request, dict) else {}, hosts=hosts)


def message_reprs(run_id: str, summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the message options by which logs, events and Flower show the message of a run."""
    return {"argsrepr": f"({run_id!r},)", "kwargsrepr": repr(dict(summary))}


def _host(targets: Any) -> str:
    if not isinstance(targets, list | tuple):
        return ""
    hosts = dict.fromkeys(filter(None, map(_host_of, targets[:_LOOKED_AT])))
    first = next(iter(hosts), "")[:_LONGEST]
    return f"{first}, ..." if len(hosts) > 1 else first


def _host_of(url: Any) -> str:
    try:
        return urlsplit(url).hostname or "" if isinstance(url, str) else ""
    except ValueError:
        return ""


def _get(plugin: Any, name: str) -> Any:
    return plugin.get(name) if isinstance(plugin, dict) else getattr(plugin, name, None)


def _shown(value: Any) -> Any:
    """Return a number or a short text. Hide any other value, because no known option has such a value."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
    return value if isinstance(value, bool | int | float) else REDACTED
