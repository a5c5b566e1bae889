"""Targets, and pages that compress as real pages do."""

from __future__ import annotations

import random
import zlib
from functools import cache
from itertools import count

#: Targets that fit into one job.
PER_JOB = 1_000
#: Jobs that run first, so that every process has loaded its modules and opened its connections.
WARM = 40
_SEED, _CORPUS, _VOCABULARY = 20_261, 2_000_000, 1_500
_LETTERS = "etaoinshrdlucmfwypvbgk"
_numbers = count()


def urls(number: int, size: int, seconds: float | None = None) -> list[str]:
    """Return `number` targets, each with a page of `size` bytes that differs from all earlier pages.

    If `seconds` is given, each task takes this time; otherwise, the time of the stand-in's other tasks.
    """
    option = "" if seconds is None else f"&seconds={seconds:.3f}"
    return [f"https://shop.example/catalogue/{next(_numbers):09d}?size={size}{option}" for _ in range(number)]


def batches(jobs: int, targets: int, size: int, seconds: float | None = None) -> list[list[str]]:
    """Return the targets of `jobs` jobs."""
    return [urls(targets, size, seconds) for _ in range(jobs)]


def fill(page: bytes, size: int) -> bytes:
    """Extend `page` to `size` bytes, so that zstd makes a page of 200 kB 3 to 4 times smaller."""
    missing = size - len(page)
    if missing <= 0:
        return page
    text = corpus()
    start = zlib.crc32(page) % len(text)
    parts, missing = [page, text[start : start + missing]], missing - len(text) + start
    while missing > 0:
        parts.append(text[:missing])
        missing -= len(text)
    return b"".join(parts)


@cache
def corpus() -> bytes:
    """Return two megabytes of a shop's markup, the same in every process."""
    pick = random.Random(_SEED)
    words = ["".join(pick.choices(_LETTERS, k=pick.randint(3, 10))) for _ in range(_VOCABULARY)]
    weights = [1 / rank for rank in range(1, _VOCABULARY + 1)]
    parts: list[bytes] = []
    length = 0
    while length < _CORPUS:
        card = _card(pick, words, weights)
        parts.append(card)
        length += len(card)
    return b"".join(parts)


def _card(pick: random.Random, words: list[str], weights: list[float]) -> bytes:
    text = pick.choices(words, weights, k=pick.randint(12, 60))
    title, number = " ".join(text[:4]).title(), pick.randrange(10**8)
    return (
        f'<article class="card" data-sku="{number:08d}"><a href="/p/{number:x}/{text[0]}-{text[1]}">'
        f'<img src="/img/{pick.getrandbits(64):016x}.webp" alt="{title}" loading="lazy"></a>\n<h2>{title}</h2>'
        f'<p class="text">{" ".join(text)}.</p><span class="price">{pick.randint(100, 99_999) / 100}</span></article>\n'
    ).encode()
