"""The plugin of a plugin job, and its parameters."""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue, field_validator

from .base import RequestModel
from .sendable import SendableText, as_json_list


class PluginRequest(RequestModel):
    """A plugin, and one task for each of its parameter sets. The API gets the sets unchanged."""

    #: the plugin, such as `amazon/pdp` or `google/search`
    key: SendableText = Field(min_length=1)
    #: one set of parameters for each task
    params: list[dict[str, JsonValue]] = Field(min_length=1, repr=False)

    @field_validator("params", mode="before")
    @classmethod
    def _json(cls, params: Any) -> Any:
        return as_json_list(params, "params", "parameter sets")
