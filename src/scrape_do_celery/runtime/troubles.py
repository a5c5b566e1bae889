"""What a failed call to the API means for a part: when to try again, and when to stop trying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.backoff import delay
from scrape_do_celery.errors import AsyncAPIAuthError, AsyncAPIRateLimitError, AsyncAPIResponseError, ScrapeDoError

if TYPE_CHECKING:
    from scrape_do_celery.store import Claim

#: A refusal is believed only after it has stood this long: tokens are changed, accounts are paid.
REFUSAL_GRACE = 900.0
#: How long all workers leave the API alone after a 429 without `Retry-After`, and at most, in seconds.
PAUSE, LONGEST_PAUSE = 5.0, 600.0
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Trouble:
    """Try again `after` seconds; `fatal` ends the part with its error."""

    after: float
    fatal: bool = False


def trouble(error: ScrapeDoError, claim: Claim, *, longest: float, auth_grace: float) -> Trouble:
    """What to do about an error of a call that may be made again."""
    if isinstance(error, AsyncAPIRateLimitError):
        return Trouble(after=pause_after(error))
    since, grace = claim.part.refused_since, auth_grace if is_auth(error) else REFUSAL_GRACE
    if is_refusal(error) and since is not None and claim.now - since > grace:
        return Trouble(after=0.0, fatal=True)
    wait = delay(claim.part.troubles, initial=1.0, maximum=max(1.0, longest), jitter=0.0, random=lambda: 0.0)
    return Trouble(after=wait)


def pause_after(error: AsyncAPIRateLimitError) -> float:
    """Seconds for which all workers leave the API alone after this 429."""
    return min(LONGEST_PAUSE, PAUSE if error.retry_after is None else error.retry_after)


def is_auth(error: ScrapeDoError) -> bool:
    """Whether the API refused the account's token."""
    return isinstance(error, AsyncAPIAuthError)


def is_refusal(error: ScrapeDoError) -> bool:
    """Whether the API answered that it will not do this; 429 and 5xx only say not now."""
    if isinstance(error, AsyncAPIRateLimitError):
        return False
    return isinstance(error, AsyncAPIResponseError) and error.status_code < _SERVER_ERROR
