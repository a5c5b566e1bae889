"""The credits of pages whose domains have a price of their own. `render` costs as it does beside `super` there."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

_BASE_OF_SUPER: Final = {False: 10, True: 25}
_PRICES: Final = (
    (re.compile(r"(.+\.)?google\.(com|[a-z]{2}|com?\.[a-z]{2})"), 10),
    (re.compile(r"(.+\.)?shopee\.(com|[a-z]{2}|com?\.[a-z]{2})"), 100),
    (re.compile(r"(.+\.)?linkedin\.com"), 30),
    (re.compile(r"(.+\.)?realestate\.com\.au"), 25),
    (re.compile(r"(.+\.)?carsales\.com\.au"), 25),
    (re.compile(r"(.+\.)?chewy\.com"), 50),
    (re.compile(r"(.+\.)?aircanada\.com"), 75),
)


def price_of(url: str, base: int, *, rendered: bool) -> int:
    """Return the credits of a successful task, if its options alone cost `base`."""
    own = _own_price(urlsplit(url).hostname or "")
    return max(base, own, _BASE_OF_SUPER[rendered]) if own else base


@lru_cache(maxsize=1024)
def _own_price(host: str) -> int:
    return next((price for pattern, price in _PRICES if pattern.fullmatch(host.removesuffix("."))), 0)
