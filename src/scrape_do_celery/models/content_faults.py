"""The words for content that is not what the caller reads it as: the reason, and what the caller can do."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: Control characters that no text has, except in the encodings that a text is decoded from.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MARKUP: Final = re.compile(r"\ufeff?\s*<")
#: Characters at the start of a page that are looked at.
_LOOKED_AT: Final = 1000


class ContentFault(NamedTuple):
    """A fault of a task's content, without text of the page."""

    #: the end of a sentence, without a full stop
    reason: str
    #: a whole sentence; empty if the usual advice fits
    advice: str = ""


def explain_absence(status: str, *, is_failure: bool, gone: bool, too_large: bool) -> ContentFault:
    """Return why a task has no page."""
    if too_large:
        return ContentFault(
            "the page was longer than the limit and was not fetched",
            "Raise `max_page_bytes`, or run `scrape-do refetch`, while the API keeps the page.",
        )
    if gone:
        return ContentFault("the API has deleted the page", "Buy the page again, if you need it.")
    if is_failure:
        return ContentFault(
            f"the task ended as {status} and has no page", "Read `error_message` of the task for the reason."
        )
    if status == "success":
        return ContentFault(
            "the page is empty", "Read `status_code` and `response_headers` of the task for the target's answer."
        )
    return ContentFault(f"the task is {status} and has no page yet", "Read the task again after its end.")


def explain_no_json(text: str, problem: str, *, was_bytes: bool, ended_as: str) -> ContentFault:
    """Return why a text is no JSON. `problem` is the parser's. `ended_as` is the status of a failed task, or empty."""
    if was_bytes and _CONTROLS.search(text[:_LOOKED_AT]):
        reason = "it is binary data, not text"
        advice = "Read `decoded_content()` of the task for the bytes."
    elif _MARKUP.match(text):
        reason, advice = "it is HTML or XML", "Read `text` of the task for the page."
    else:
        reason, advice = problem, ""
    if ended_as:
        reason = f"{reason}, and the task ended as {ended_as}"
    return ContentFault(reason, advice)
