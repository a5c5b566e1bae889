"""The inputs of a request: its targets, or the parameter sets of its plugin."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.models import JobCreationRequest


def inputs_of(request: JobCreationRequest) -> list[Any]:
    """Return the targets of a request, or the parameter sets of its plugin."""
    return list(request.targets or ()) if request.plugin is None else list(request.plugin.params)


def wire_inputs_of(request: JobCreationRequest) -> list[Any]:
    """Return the targets of a request, or the parameter sets of its plugin, as the API and the record get them."""
    return list(request.targets or ()) if request.plugin is None else request.plugin.wire_sets()


def with_items(request: JobCreationRequest, items: Sequence[Any]) -> JobCreationRequest:
    """Return the request with some of its own targets or parameter sets, which were checked before."""
    if request.plugin is None:
        return request.model_copy(update={"targets": list(items)})
    return request.model_copy(update={"plugin": request.plugin.model_copy(update={"params": list(items)})})


def targets_of(request: JobCreationRequest) -> list[str]:
    """Return the targets of a request; for a plugin, a text for each parameter set, which is only a fingerprint."""
    return describe_inputs(wire_inputs_of(request))


def describe_inputs(inputs: Sequence[Any]) -> list[str]:
    """Return the targets as they are, and a text for each parameter set."""
    return [one if isinstance(one, str) else json.dumps(one, sort_keys=True) for one in inputs]


def without_inputs(wire: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a request for the record, without its targets or parameter sets."""
    if "Plugin" in wire:
        return {**wire, "Plugin": {**wire["Plugin"], "Params": []}}
    return {name: value for name, value in wire.items() if name != "Targets"}


def with_inputs(wire: dict[str, Any], inputs: list[Any]) -> dict[str, Any]:
    """Return the fields of a request for the record, with these targets or parameter sets."""
    if "Plugin" in wire:
        return {**wire, "Plugin": {**wire["Plugin"], "Params": inputs}}
    return {**wire, "Targets": inputs}
