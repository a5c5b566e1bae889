"""Plugin jobs."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, JsonValue, field_validator

from .base import RequestModel


class PluginRequest(RequestModel):
    """A plugin, and one task for each of its parameter sets, which go to the API as they are."""

    #: such as `amazon/pdp` or `google/search`
    key: str = Field(min_length=1)
    params: list[dict[str, JsonValue]] = Field(min_length=1, repr=False)

    @field_validator("params")
    @classmethod
    def _json(cls, params: list[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            json.dumps(params, allow_nan=False)
        except ValueError:
            raise ValueError("params hold a number that JSON cannot write") from None
        return params
