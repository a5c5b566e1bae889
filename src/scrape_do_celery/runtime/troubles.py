"""What a failed call to the API means for a part: when to try again, and when to stop trying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.backoff import delay
from scrape_do_celery.errors import AsyncAPIRateLimitError, AsyncAPIResponseError, ScrapeDoError

if TYPE_CHECKING:
    from scrape_do_celery.store import Claim

#: A refusal other than 429 and 5xx is believed only after it has stood this long: tokens are changed, accounts paid.
AUTH_GRACE = 900.0
#: How long all workers leave the API alone after a 429 without `Retry-After`, in seconds.
RATE_LIMIT_PAUSE = 5.0
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Trouble:
    """Try again `after` seconds; `pause` is for all workers; `fatal` ends the part with its error."""

    after: float
    pause: float | None = None
    fatal: ScrapeDoError | None = None


def trouble(error: ScrapeDoError, claim: Claim, *, longest: float) -> Trouble:
    """What to do about an error of a call that may be made again."""
    if isinstance(error, AsyncAPIRateLimitError):
        wait = RATE_LIMIT_PAUSE if error.retry_after is None else error.retry_after
        return Trouble(after=wait, pause=wait)
    since = claim.part.in_trouble_since
    refused = isinstance(error, AsyncAPIResponseError) and error.status_code < _SERVER_ERROR
    if refused and since is not None and claim.now - since > AUTH_GRACE:
        return Trouble(after=0.0, fatal=error)
    return Trouble(
        after=delay(claim.part.troubles, initial=1.0, maximum=max(1.0, longest), jitter=0.5, random=lambda: 0.5)
    )
