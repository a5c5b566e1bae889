"""The prices and the answers of plugins: JSON that names the plugin and its parameters.

The answer of Google's search also has made-up results.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

#: Plugins that answer with the HTML of the page.
HTML_PLUGINS = frozenset({"lowes/store", "shein", "walmart/store"})
#: Credits of one successful task, by the first word of the plugin's key. No source names the other prices.
_CREDITS = {"google": 10, "chatgpt": 25}
_CREDITS_OF_AMAZON_SUPER = 10
_LEAST_CREDITS = 1


def price_plugin(url: str) -> int:
    """Return the credits of one successful task of a plugin. A task without a known price costs 1 credit."""
    key, params = _read_url(url)
    site = key.partition("/")[0]
    if site == "amazon" and params.get("super") == "True":
        return _CREDITS_OF_AMAZON_SUPER
    return _CREDITS.get(site, _LEAST_CREDITS)


def make_plugin_answer(url: str) -> bytes:
    """Make the answer of a plugin; the same URL always gives the same bytes."""
    key, params = _read_url(url)
    results = _make_search_results(params) if key == "google/search" else {}
    return json.dumps({"plugin": key, "params": params, "sandbox": True, **results}).encode()


def _read_url(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    return parts.path[1:], {name: values[-1] for name, values in parse_qs(parts.query).items()}


def _make_search_results(params: dict[str, str]) -> dict[str, Any]:
    query = params.get("q", "")
    found = [
        {"position": n, "title": f"{query} {n}", "link": f"https://result-{n}.example/?q={quote_plus(query)}"}
        for n in range(1, 4)
    ]
    found[0]["sitelinks"] = {"expanded": [{"title": "More", "link": "https://result-1.example/more"}]}
    overview = {
        "state": "complete",
        "text_blocks": [{"type": "paragraph", "snippet": f"About {query}"}],
        "references": [{"title": "A source", "link": "https://source.example/", "source": "source.example"}],
    }
    return {
        # The vendor's answers of this plugin repeat their parameters.
        "search_parameters": params,
        "organic_results": found,
        "top_ads": [{"position": 1, "title": f"Buy {query}", "url": "https://ad.example/"}],
        "bottom_ads": [],
        "top_stories": [],
        "related_questions": [{"question": f"What is {query}?"}],
        "related_searches": [{"query": f"{query} near me"}],
        "ai_overview": overview,
    }
