"""The fields of requests as keyword arguments and dicts, for editors and type checkers.

Tests compare these classes with the models, which describe the fields. A `closed` class has no other keys; without this
word, ty takes any keyword.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .foreign_models import ForeignModel
    from .plugins.parameters import PluginParams
    from .plugins.plugin import PluginRequest
    from .render import RenderFields, RenderOptions


class PluginFields(TypedDict, closed=True):
    """The fields of a plugin's request, as a dict."""

    key: str
    params: Iterable[PluginParams | Mapping[str, Any] | ForeignModel]


class OptionFields(TypedDict, total=False):
    """The fields of `JobCreationRequest` beside `targets` and `timeout`."""

    plugin: PluginRequest | PluginFields | ForeignModel | None
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] | None
    body: str | None
    headers: Mapping[str, str] | None
    forward_headers: bool | None
    set_cookies: str | None
    geo_code: str | None
    regional_geo_code: Literal["europe", "asia", "africa", "oceania", "northamerica", "southamerica"] | None
    super: bool | None
    session_id: int | None
    device: Literal["desktop", "mobile", "tablet"] | None
    retry_timeout: int | None
    disable_retry: bool | None
    transparent_response: bool | None
    disable_redirection: bool | None
    output: Literal["raw", "markdown"] | None
    render: RenderOptions | RenderFields | ForeignModel | None
    webhook_url: str | None
    webhook_headers: Mapping[str, str] | None
    extra: Mapping[str, Any] | None


class RequestFields(OptionFields, total=False):
    """The fields of `JobCreationRequest` beside `targets`, as keyword arguments of the functions that start a run."""

    timeout: int | None


class JobFields(OptionFields, total=False, closed=True):
    """The fields of `JobCreationRequest` beside `timeout`, as keyword arguments of a client's methods.

    The `timeout` of a method is the deadline of its HTTP requests. A job's own `timeout` needs a `JobCreationRequest`.
    """

    targets: Iterable[str] | None


class AllFields(RequestFields, total=False, closed=True):
    """All fields of `JobCreationRequest`."""

    targets: Iterable[str] | None
