"""What all plugins for Google share."""

from __future__ import annotations

from .fields import ParamText  # noqa: TC001 (pydantic reads it)
from .parameters import PluginParams
from .plugin import TypedPlugin


class GoogleParams(PluginParams):
    """The parameters that most plugins for Google have."""

    #: the country whose results are shown, in two letters, such as `us`; the request's `geo_code` has no effect
    gl: ParamText | None = None
    #: the language of the page, such as `en`
    hl: ParamText | None = None


class GooglePlugin(TypedPlugin):
    """The base class of the plugins for Google. They use premium proxies, also without the request's `super`."""

    CREDITS = 10
