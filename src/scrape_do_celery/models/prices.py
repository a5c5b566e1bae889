"""The price of a task with a URL: by its options, and by the host of the URL.

The prices are those of https://scrape.do/documentation/request-costs/ (November 2026). The API may change them at any
time, and states the true cost with each task.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from ada_url import URL

__all__ = ["TaskPrice", "find_price", "host_of"]

#: Credits of a task by (super, render).
_BASE: Final = {(False, False): 1, (False, True): 5, (True, False): 10, (True, True): 25}
#: Credits at least and at most of a task of a domain and of all hosts below it.
_DOMAINS: Final = {
    "aircanada.com": (75, 75),
    "carsales.com.au": (25, 200),
    "chewy.com": (50, 50),
    "linkedin.com": (30, 30),
    "realestate.com.au": (25, 25),
}
#: Credits as above, of a name under the domain of each country.
_COUNTRY_NAMES: Final = {"google": (10, 10), "shopee": (100, 100)}
_COUNTRY_DOMAIN: Final = re.compile(
    rf"(?:.+\.)?({'|'.join(_COUNTRY_NAMES)})\.(?:com|cat|[a-z]{{2}}|com?\.[a-z]{{2}})", re.DOTALL
)


class TaskPrice(NamedTuple):
    """Credits of one task that succeeds.

    `most` is None if no rule bounds the cost: the API may use better proxies for any host.
    """

    least: int
    price: int
    most: int | None


def host_of(url: str) -> str:
    """Return the host of a URL in lower case, as IDNA writes it, without a dot at its end; empty without a host."""
    try:
        return URL(url).hostname.removesuffix(".")
    except (ValueError, UnicodeEncodeError):
        return ""


@lru_cache(maxsize=4096)
def find_price(host: str, *, has_super: bool, has_render: bool) -> TaskPrice:
    """Return the price of a task of a host with these options.

    The domains with prices of their own have `super` in each request, so `render` counts as it does beside `super`.
    """
    base = _BASE[has_super, has_render]
    found = _find_domain(host)
    if found is None:
        return TaskPrice(base, base, None)
    least, most = found
    most = max(most, _BASE[True, has_render])
    return TaskPrice(max(least, base), most, most)


def _find_domain(host: str) -> tuple[int, int] | None:
    if match := _COUNTRY_DOMAIN.fullmatch(host):
        return _COUNTRY_NAMES[match[1]]
    labels = host.split(".")
    parents = (".".join(labels[at:]) for at in range(len(labels)))
    return next((_DOMAINS[parent] for parent in parents if parent in _DOMAINS), None)
