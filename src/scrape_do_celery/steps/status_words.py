"""Note unknown status words: log each once per process, count them, and keep them in the part's record."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from scrape_do_celery.log_fields import log_fields
from scrape_do_celery.rules.lifecycle import add_words, shorten_word
from scrape_do_celery.store.commands.parts import UpdatePart

if TYPE_CHECKING:
    from collections.abc import Collection

    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim

log = logging.getLogger(__name__)


async def note_words(
    context: WorkerContext, claim: Claim, kind: Literal["job", "task"], words: Collection[str]
) -> Claim:
    """Count and log unknown status words, and keep them in the part's record. Return the claim with these words."""
    if not words:
        return claim
    context.rate_limiter.counters.add(f"unknown_status:{kind}", len(words))
    for word in dict.fromkeys(words):
        shown = shorten_word(word)
        if context.once.is_first("status", kind, shown):
            text = "run %s: the API wrote the unknown status %r for a %s; each unknown status is logged once"
            log.warning(text, claim.part_id.run_id, shown, kind, extra=log_fields("unknown_status", claim.part_id))
    known = add_words(claim.part.unknown_statuses, words)
    if known == claim.part.unknown_statuses:
        return claim
    await context.write(UpdatePart(claim, {"words": json.dumps(known)}))
    return replace(claim, part=replace(claim.part, unknown_statuses=known))
