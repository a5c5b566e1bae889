"""Protections that the lab can remove from workers and receivers, to prove that it detects their absence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scrape_do_celery.store import client
from scrape_do_celery.store.scripts import load_scripts
from scrape_do_celery.webhooks import core

if TYPE_CHECKING:
    from collections.abc import Callable

#: Times that the trials of a mutant are played until one turns red: a busy machine misses the moment of some.
ATTEMPTS = 3

_SET = "redis.call('HSET', contents_key, position, frame)"
#: Script -> texts to replace in it, with their replacements.
MUTANTS: dict[str, list[tuple[str, str, str]]] = {
    # The store accepts writes of a step that lost its lease. The table of transitions would refuse most of them.
    "fence": [
        ("update_part", r"is_behind = before\.fence ~= fence", "is_behind = false"),
        ("update_part", r"return 'forbidden'", ""),
        ("finish_part", r"if part\.fence ~= fence then return \{'stale'\} end", ""),
    ],
    # The script reports the intent as written without writing it.
    "intent": [
        ("write_intent", r"'state', 'submitting', 'intent', format_time\(t\), ", ""),
        ("check_before_send", r" or part\.state ~= 'submitting'", ""),
    ],
    # A stored page is overwritten, and counted again.
    "set_if_absent": [
        (
            "store_content",
            r"if redis\.call\('HSETNX', contents_key, position, frame\) == 0 then\s.*?return \{'known', 0\}\s+end",
            _SET,
        ),
    ],
    # A purchase asks no budget.
    "budget": [("write_intent", r"local refusal = [^\n]*", "local refusal = nil")],
    # A part that ends keeps its reservation.
    "settlement": [("finish_part", r"(?<!function )settle_ended_part\([^\n]*\n", "\n")],
    # A part that waits for a budget is not woken when credits become free.
    "wake": [("finish_part", r"elseif amount <= room or [^\n]* then", "elseif false then")],
    # Runs with equal targets buy at the same time.
    "target_lock": [
        ("write_intent", r"for [^\n]* -- target lock: begin.*?-- target lock: end", ""),
    ],
}


#: No delivered page is compared with the API's own answer.
_COMPARISON = [("take_delivery", r"local kind = \(taken[^\n]*", "local kind = 'page'")]


def _believe_every_sender() -> None:
    """Believe each body that comes to a valid URL, with or without the secret.

    The comparison of pages would find the forged ones as well, so nothing is compared.
    """
    core.Receiver._judge_sender = lambda *_: None  # type: ignore[method-assign]
    client.load_scripts = lambda *_: _replace_in_scripts("secret", _COMPARISON)


#: Protection of receivers -> the function that removes it.
RECEIVER_MUTANTS: dict[str, Callable[[], None]] = {"secret": _believe_every_sender}


def apply_mutant(what: str) -> None:
    """Remove one protection from this process's stores."""
    client.load_scripts = lambda *_: mutated_scripts(what)


def mutated_scripts(what: str) -> dict[str, str]:
    """Return all scripts without one protection.

    Raises:
        ValueError: the script no longer contains the text to replace.
    """
    return _replace_in_scripts(what, MUTANTS[what])


def _replace_in_scripts(what: str, changes: list[tuple[str, str, str]]) -> dict[str, str]:
    texts = dict(load_scripts())
    for name, found, instead in changes:
        texts[name], times = re.subn(found, instead, texts[name], flags=re.DOTALL)
        if times != 1:
            raise ValueError(f"the mutant {what} does not fit {name}.lua any more: {found}")
    return texts
