"""The pages of made-up targets: the same URL always gives the same bytes."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from scrape_do_sandbox.plugins import HTML_PLUGINS, make_plugin_answer
from scrape_do_sandbox.spec import PLUGIN_SITE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrape_do_sandbox.faults import FaultRule

_WORDS = (
    "amber",
    "basalt",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "garnet",
    "harbour",
    "island",
    "juniper",
    "kelp",
    "lime",
)
_MAX_SIZE = 50_000_000
_MAX_COST = 1_000_000
HTML = "text/html; charset=utf-8"
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Page:
    """The result of a task. `text` says whether the body travels as text or as base64.

    `resolved` is the URL after redirects; empty without one.
    """

    status_code: int
    headers: dict[str, str]
    body: bytes
    text: bool = True
    error: str = ""
    resolved: str = ""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """The page options that the query string of a made-up URL, or a rule, sets."""

    error: bool = False
    status: int = 200
    size: int = 0
    binary: bool = False
    seconds: float | None = None
    gone: int = 0
    cost: int | None = None
    body: str | None = None
    content_type: str = HTML


DEFAULT_PAGE = PageOptions()


def parse_page_options(url: str) -> PageOptions:
    """Parse the page options in the query string, and ignore values that are not valid."""
    query = urlsplit(url).query
    if not query:
        return DEFAULT_PAGE
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    return PageOptions(
        error=asked.get("sandbox") == "error",
        status=_parse_number(int, asked.get("status"), 200, 599) or 200,
        size=_parse_number(int, asked.get("size"), 0, _MAX_SIZE) or 0,
        binary=asked.get("binary") == "1",
        seconds=_parse_number(float, asked.get("seconds"), 0, float("inf")),
        gone={"410": 410, "404": 404}.get(asked.get("gone", ""), 0),
        cost=_parse_number(int, asked.get("cost"), 0, _MAX_COST),
    )


def seed_of(text: str) -> int:
    """Return a number that is the same for the same text in every process."""
    return zlib.crc32(text.encode("utf-8", "replace"))


def make_page(url: str, page_options: PageOptions = DEFAULT_PAGE) -> Page:
    """Make the page of a made-up URL; the same URL always gives the same bytes."""
    if page_options.error:
        return Page(0, {}, b"", error=f"The sandbox was asked to fail {url}")
    if page_options.body is not None:
        return Page(page_options.status, {"Content-Type": page_options.content_type}, page_options.body.encode())
    if page_options.binary:
        data = random.Random(seed_of(url)).randbytes(page_options.size or 4096)
        return Page(page_options.status, {"Content-Type": "application/octet-stream"}, data, text=False)
    if url.startswith(PLUGIN_SITE) and urlsplit(url).path[1:] not in HTML_PLUGINS:
        return Page(page_options.status, {"Content-Type": "application/json"}, make_plugin_answer(url))
    return Page(page_options.status, {"Content-Type": HTML}, _fill_page(_make_html(url), page_options.size))


def _parse_number(kind: Callable[[str], N], text: str | None, low: float, high: float) -> N | None:
    try:
        value = kind(text or "")
    except ValueError:
        return None
    return value if low <= value <= high else None


def _make_html(url: str) -> bytes:
    pick = random.Random(seed_of(url))
    title = " ".join(pick.choices(_WORDS, k=3)).title()
    rows = "".join(f"<p>{' '.join(pick.choices(_WORDS, k=12))}</p>\n" for _ in range(4))
    return (
        f"<!doctype html>\n<html><head><title>{title}</title></head>\n"
        f'<body><h1>{title}</h1>\n<p class="url">{escape(url)}</p>\n{rows}</body></html>\n'
    ).encode("utf-8", "replace")


def _fill_page(page: bytes, size: int) -> bytes:
    filler = b"<!-- sandbox -->\n"
    missing = size - len(page)
    return page + (filler * (missing // len(filler) + 1))[:missing] if missing > 0 else page


def apply_page_rules(page_options: PageOptions, url: str, rules: Iterable[FaultRule]) -> PageOptions:
    """Apply the rules that match a target to its page options; of several rules, the last wins."""
    for rule in rules:
        if rule.action in _PAGE_RULES and (rule.target is None or rule.target in url):
            page_options = replace(page_options, **_PAGE_RULES[rule.action](rule))
    return page_options


def _answer_fields(rule: FaultRule) -> dict[str, Any]:
    return {"status": rule.status, "body": rule.body, "content_type": rule.headers.get("Content-Type", HTML)}


_PAGE_RULES: dict[str, Callable[[FaultRule], dict[str, Any]]] = {
    "task_fails": lambda _: {"error": True},
    "task_answers": _answer_fields,
    "task_takes": lambda rule: {"seconds": rule.seconds},
}
