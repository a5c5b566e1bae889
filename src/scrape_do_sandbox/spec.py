"""The check of a request for a job, and the errors that refuse requests."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from scrape_do_sandbox.plugins import price_plugin

if TYPE_CHECKING:
    from collections.abc import Callable

GONE = "Task response content is no longer available."
MAX_TARGETS = 1000
PLUGIN_SITE = "https://plugin.sandbox.test"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_REGIONS = ("europe", "asia", "africa", "oceania", "northamerica", "southamerica")
_SECRET = frozenset({"Targets", "Headers", "SetCookies", "Body", "WebhookHeaders"})


class ApiError(Exception):
    """An error answer of the API."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text

    def body(self) -> dict[str, object]:
        """Return the error object that travels over the wire."""
        return {"Error": self.text, "Code": self.status}


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A checked `POST /jobs` body: its targets (for a plugin, one made-up URL for each entry) and all its options."""

    targets: tuple[str, ...]
    options: dict[str, Any]

    def cost_of(self, target: str) -> int:
        """Return the base credits of one successful task."""
        if "Plugin" in self.options:
            return price_plugin(target)
        render, premium = self.options.get("Render") is not None, bool(self.options.get("Super"))
        return {(False, False): 1, (True, False): 5, (False, True): 10, (True, True): 25}[render, premium]

    def show_fields(self) -> dict[str, Any]:
        """Return the options, except options that may hold a secret. Targets are logged beside them."""
        return {name: value for name, value in self.options.items() if name not in _SECRET}


def is_loopback(url: str) -> bool:
    """Tell whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_spec(body: bytes) -> JobSpec:
    """Parse and check a request body.

    Raises:
        ApiError: 400, with the reason.
    """
    data = _json_object(body)
    given = {name: value for name, value in data.items() if value is not None}
    _check_options(given)
    return JobSpec(_read_targets(given), given)


def targets_of(body: bytes) -> tuple[str, ...]:
    """Return the targets that a body names, checked or not, for fault rules and the log."""
    try:
        data = json.loads(body)
        found = data.get("Targets") or _plugin_urls(data["Plugin"])
        return tuple(str(target) for target in found)
    except (ValueError, TypeError, KeyError, AttributeError, ApiError):
        return ()


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        raise ApiError(400, "Request body is not valid JSON") from None
    if not isinstance(data, dict):
        raise ApiError(400, "Request body must be a JSON object")
    return data


def _read_targets(given: dict[str, Any]) -> tuple[str, ...]:
    if ("Targets" in given) == ("Plugin" in given):
        raise ApiError(400, "Exactly one of Targets and Plugin must be given")
    if "Plugin" in given:
        return tuple(_plugin_urls(given["Plugin"]))
    targets = _check_list("Targets", given["Targets"])
    for target in targets:
        _check_url("Targets", target)
    return tuple(targets)


def _plugin_urls(plugin: Any) -> list[str]:
    if not isinstance(plugin, dict) or not isinstance(plugin.get("Key"), str) or not plugin["Key"]:
        raise ApiError(400, "Plugin must have a Key")
    entries = _check_list("Plugin.Params", plugin.get("Params"))
    if not all(isinstance(entry, dict) for entry in entries):
        raise ApiError(400, "Plugin.Params must be a list of objects")
    return [f"{PLUGIN_SITE}/{plugin['Key']}?{urlencode(entry)}" for entry in entries]


def _check_list(name: str, items: Any) -> list[Any]:
    if not isinstance(items, list):
        raise ApiError(400, f"{name} must be a list")
    if not items:
        raise ApiError(400, f"{name} must not be empty")
    if len(items) > MAX_TARGETS:
        raise ApiError(400, f"{name} must not have more than {MAX_TARGETS} entries")
    return items


def _check_url(name: str, url: Any) -> None:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        good = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ApiError(400, f"{name} must be http or https URLs")


def _check_kind(name: str, wanted: type) -> Callable[[Any], None]:
    def check_value(value: Any) -> None:
        if not isinstance(value, wanted):
            raise ApiError(400, f"{name} must be of type {wanted.__name__}")

    return check_value


def _one_of(name: str, allowed: tuple[str, ...]) -> Callable[[Any], None]:
    def check_value(value: Any) -> None:
        if value not in allowed:
            raise ApiError(400, f"{name} must be one of {', '.join(allowed)}")

    return check_value


def _check_range(name: str, low: int, high: int, *, quoted: bool = False) -> Callable[[Any], None]:
    def check_value(value: Any) -> None:
        number = int(value) if quoted and isinstance(value, str) and value.isdecimal() else value
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ApiError(400, f"{name} must be a number between {low} and {high}")

    return check_value


def _check_map(name: str) -> Callable[[Any], None]:
    def check_value(value: Any) -> None:
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise ApiError(400, f"{name} must be a map of strings")

    return check_value


def _check_render(value: Any) -> None:
    _check_kind("Render", dict)(value)
    _check_range("Render.CustomWait", 0, 35_000)(value.get("CustomWait", 0))


_FLAGS = ("Super", "ForwardHeaders", "DisableRetry", "TransparentResponse", "DisableRedirection")
_CHECKS: dict[str, Callable[[Any], None]] = {
    "Method": _one_of("Method", _METHODS),
    "Body": _check_kind("Body", str),
    "Headers": _check_map("Headers"),
    "SetCookies": _check_kind("SetCookies", str),
    "GeoCode": _check_kind("GeoCode", str),
    "RegionalGeoCode": _one_of("RegionalGeoCode", _REGIONS),
    "SessionID": _check_range("SessionID", 0, 1_000_000, quoted=True),
    "Device": _one_of("Device", ("desktop", "mobile", "tablet")),
    "Timeout": _check_range("Timeout", 5_000, 120_000),
    "RetryTimeout": _check_range("RetryTimeout", 5_000, 55_000),
    "Output": _one_of("Output", ("raw", "markdown")),
    "Render": _check_render,
    "WebhookURL": lambda value: _check_url("WebhookURL", value),
    "WebhookHeaders": _check_map("WebhookHeaders"),
} | {name: _check_kind(name, bool) for name in _FLAGS}


def _check_options(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if name in _CHECKS:
            _CHECKS[name](value)
