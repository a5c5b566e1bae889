"""What a failed call to the API means for a part: when to try again, and when to stop trying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.backoff import delay
from scrape_do_celery.errors import (
    AsyncAPIAuthError,
    AsyncAPIRateLimitError,
    AsyncAPIRedirectError,
    AsyncAPIResponseError,
    ScrapeDoError,
)

if TYPE_CHECKING:
    from scrape_do_celery.store import Claim

#: A refusal is believed only after it has stood this long: tokens are changed, accounts are paid.
REFUSAL_GRACE = 900.0
#: How long all workers leave the API alone after a 429 without `Retry-After`, and at most, in seconds.
PAUSE, LONGEST_PAUSE = 5.0, 600.0
_SERVER_ERROR = 500
#: As much of an error is kept in the record for whoever looks.
_TOLD = 300


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Try again `after` seconds; `fatal` ends the part with its error."""

    after: float
    fatal: bool = False


def retry_decision(
    error: ScrapeDoError, claim: Claim, *, longest: float, auth_grace: float, may_end: bool = True
) -> RetryDecision:
    """What to do about an error of a call that may be made again. `may_end` lets a refusal end the part in time."""
    if isinstance(error, AsyncAPIRateLimitError):
        return RetryDecision(after=pause_after(error))
    since, grace = claim.part.refused_since, auth_grace if is_auth(error) else REFUSAL_GRACE
    if may_end and is_client_error(error) and since is not None and claim.now - since > grace:
        return RetryDecision(after=0.0, fatal=True)
    wait = delay(claim.part.api_failures, initial=1.0, maximum=max(1.0, longest), jitter=0.0, random=lambda: 0.0)
    return RetryDecision(after=wait)


def pause_after(error: AsyncAPIRateLimitError) -> float:
    """Seconds for which all workers leave the API alone after this 429."""
    return min(LONGEST_PAUSE, PAUSE if error.retry_after is None else error.retry_after)


def is_auth(error: ScrapeDoError) -> bool:
    """Whether the API refused the account's token."""
    return isinstance(error, AsyncAPIAuthError)


def is_client_error(error: ScrapeDoError) -> bool:
    """Whether the API answered that it will not do this; 429 and 5xx only say not now.

    A refusal without the API's own body comes from a gateway on the way, and only says not now.
    """
    if isinstance(error, AsyncAPIRateLimitError) or not isinstance(error, AsyncAPIResponseError):
        return False
    return error.status_code < _SERVER_ERROR and (error.is_api_error or is_auth(error))


def describe_trouble(error: ScrapeDoError) -> str:
    """What is told of an error while a part waits to make its call again. A redirect is told with its host."""
    where = f" (status {error.status_code}, to {error.host})" if isinstance(error, AsyncAPIRedirectError) else ""
    return f"{type(error).__name__}{where}: {error}"[:_TOLD]
