"""The plugins of the peer SDK, and what it and we send for a parameter set."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from scrape_do.async_api.models import JobCreationRequest as PeerRequest
from scrape_do.async_api.models.plugins import AsyncPlugin

from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.models.plugins.plugin import PLUGINS

PEERS = {one.model_fields["key"].default: one for one in get_args(get_args(AsyncPlugin)[0])}
KEYS = sorted(PLUGINS)


def peer_params(key: str) -> type[BaseModel]:
    """Return the peer's class of a plugin's parameter sets."""
    return get_args(PEERS[key].model_fields["params"].annotation)[0]


def wire_example(key: str) -> dict[str, Any]:
    """Return the plugin's example under the API's names."""
    wire: dict[str, Any] = PLUGINS[key].PARAMS(**PLUGINS[key].EXAMPLE).to_wire()
    return wire


def our_wire(key: str, params: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the parameter sets that we send; None if we refuse the set."""
    try:
        wire = JobCreationRequest(plugin={"key": key, "params": [params]}).to_wire()
    except ValidationError:
        return None
    return wire["Plugin"]["Params"]


def peer_wire(key: str, params: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the parameter sets that the peer SDK sends; None if it refuses the set."""
    try:
        request = PeerRequest.model_validate({"plugin": {"key": key, "params": [params]}})
    except ValidationError:
        return None
    return request.model_dump(mode="json", by_alias=True, exclude_none=True)["Plugin"]["Params"]
