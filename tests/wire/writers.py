"""Four targets in the spellings of six writers. The table is written by hand, without a URL library."""

from __future__ import annotations

#: Target -> the spelling of each of six writers.
WRITTEN: dict[str, dict[str, str]] = {
    "https://shop.example/find?q=men's": {
        "WHATWG": "https://shop.example/find?q=men%27s",
        "Go": "https://shop.example/find?q=men's",
        "Go Encode()": "https://shop.example/find?q=men%27s",
        "IDNA 2003": "https://shop.example/find?q=men's",
        "pydantic": "https://shop.example/find?q=men%27s",
    },
    "https://straße.example/": {
        "WHATWG": "https://xn--strae-oqa.example/",
        "Go": "https://stra%C3%9Fe.example/",
        "Go Encode()": "https://stra%C3%9Fe.example/",
        "IDNA 2003": "https://strasse.example/",
        "pydantic": "https://xn--strae-oqa.example/",
    },
    "http://[2001:DB8:0:0::1]/x": {
        "WHATWG": "http://[2001:db8::1]/x",
        "Go": "http://[2001:DB8:0:0::1]/x",
        "Go Encode()": "http://[2001:DB8:0:0::1]/x",
        "IDNA 2003": "http://[2001:db8:0:0::1]/x",
        "pydantic": "http://[2001:db8::1]/x",
    },
    "https://bücher.example/ü?a=x%20y&b=2": {
        "WHATWG": "https://xn--bcher-kva.example/%C3%BC?a=x%20y&b=2",
        "Go": "https://b%C3%BCcher.example/%C3%BC?a=x%20y&b=2",
        "Go Encode()": "https://b%C3%BCcher.example/%C3%BC?a=x+y&b=2",
        "IDNA 2003": "https://xn--bcher-kva.example/ü?a=x%20y&b=2",
        "pydantic": "https://xn--bcher-kva.example/%C3%BC?a=x%20y&b=2",
    },
}
WRITERS = ("verbatim", "WHATWG", "Go", "Go Encode()", "IDNA 2003", "pydantic")


def written_by(writer: str, url: str) -> str:
    """Return the URL in the spelling of this writer."""
    return WRITTEN.get(url, {}).get(writer, url)
