"""The cases of web-platform-tests without a base URL, as pairs of a URL and its WHATWG form."""

from __future__ import annotations

import json
from pathlib import Path

_DATA = Path(__file__).parents[1] / "data" / "wpt"


def cases() -> dict[str, list[tuple[str, str | None]]]:
    """Map each data set to pairs of input and form. The form is None if the parser must refuse the input."""
    return {
        "urltestdata": [(one["input"], one.get("href")) for one in _load("urltestdata") if one.get("base") is None],
        "toascii": _hosts("toascii"),
        "IdnaTestV2": _hosts("IdnaTestV2"),
    }


def _hosts(name):
    # The bare function returns `""` as a form. No URL has such a host.
    return [(f"https://{one['input']}/", f"https://{one['output']}/" if one["output"] else None) for one in _load(name)]


def _load(name):
    return [one for one in json.loads((_DATA / f"{name}.json").read_text()) if isinstance(one, dict)]
