"""Note unknown status words: log each once per process, count them, and keep them in the part's record."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from scrape_do_celery.rules.lifecycle import add_words, shorten_word
from scrape_do_celery.store import Claim, ops

if TYPE_CHECKING:
    from collections.abc import Collection

    from scrape_do_celery.steps.context import WorkerContext

log = logging.getLogger(__name__)

#: Logged words that a process remembers at most. A server could send a new word with each answer.
_REMEMBERED = 1_000


class WordLog:
    """The unknown status words that this process has logged."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def log_once(self, kind: str, word: str, run_id: str) -> None:
        """Log a word, unless this process has logged it before or has logged too many words."""
        if (kind, word) in self._logged or len(self._logged) >= _REMEMBERED:
            return
        self._logged.add((kind, word))
        log.warning("run %s: the API wrote the unknown status %r for a %s; it is logged once", run_id, word, kind)


async def note_words(
    context: WorkerContext, claim: Claim, kind: Literal["job", "task"], words: Collection[str]
) -> Claim:
    """Count and log unknown status words, and keep them in the part's record. Return the claim with these words."""
    if not words:
        return claim
    context.rate_limiter.counters.add(f"unknown_status:{kind}", len(words))
    for word in dict.fromkeys(words):
        context.words.log_once(kind, shorten_word(word), claim.part_id.run_id)
    known = add_words(claim.part.unknown_statuses, words)
    if known == claim.part.unknown_statuses:
        return claim
    await context.write(ops.update_part(context.store.keys, claim, {"words": json.dumps(known)}))
    return replace(claim, part=replace(claim.part, unknown_statuses=known))
