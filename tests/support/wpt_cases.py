"""The cases of web-platform-tests whose base is null, as pairs of a URL and its WHATWG form."""

from __future__ import annotations

import json
from pathlib import Path

_DATA = Path(__file__).parents[1] / "data" / "wpt"


def cases() -> dict[str, list[tuple[str, str | None]]]:
    """Data set -> pairs of input and form; the form is None where the parser must refuse the input."""
    return {
        "urltestdata": [(one["input"], one.get("href")) for one in _load("urltestdata") if one.get("base") is None],
        "toascii": _hosts("toascii"),
        "IdnaTestV2": _hosts("IdnaTestV2"),
    }


def _hosts(name):
    # `""` as a form is what a test of the bare function gives; no URL has such a host.
    return [(f"https://{one['input']}/", f"https://{one['output']}/" if one["output"] else None) for one in _load(name)]


def _load(name):
    return [one for one in json.loads((_DATA / f"{name}.json").read_text()) if isinstance(one, dict)]
