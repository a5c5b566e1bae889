"""Decide how a part continues after a failed API call: when to retry, and when to end the part."""

from __future__ import annotations

from dataclasses import dataclass

from scrape_do_celery.errors import (
    AsyncAPIAuthError,
    AsyncAPIRateLimitError,
    AsyncAPIRedirectError,
    AsyncAPIResponseError,
    ScrapeDoError,
)
from scrape_do_celery.rules.backoff import delay

#: Seconds for which a refusal must last before it ends a part: a customer may change the token or pay the account.
REFUSAL_GRACE = 900.0
#: Seconds of the pause of all workers after a 429 without `Retry-After`; seconds of the longest pause.
PAUSE, LONGEST_PAUSE = 5.0, 600.0
_SERVER_ERROR = 500
#: Characters of an error that the record keeps, to explain the state of the run.
_TOLD = 300


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """The decision about a failed call: retry it after `after` seconds, or, if `fatal`, end the part with the error."""

    after: float
    fatal: bool = False


def decide_retry(
    error: ScrapeDoError, *, failures: int, refused_for: float | None, longest: float, auth_grace: float
) -> RetryDecision:
    """Decide about an error of a call that can be retried.

    Args:
        error: the error of the call.
        failures: the calls that have failed in a row before this one.
        refused_for: the seconds since the first of consecutive refusals. None if there was none, or if no refusal may
            end the part.
        longest: the seconds of the longest wait.
        auth_grace: the seconds after which a refused token ends the part. Another refusal ends the part after
            `REFUSAL_GRACE` seconds.
    """
    if isinstance(error, AsyncAPIRateLimitError):
        return RetryDecision(after=pause_after(error))
    grace = auth_grace if is_auth(error) else REFUSAL_GRACE
    if is_client_error(error) and refused_for is not None and refused_for > grace:
        return RetryDecision(after=0.0, fatal=True)
    wait = delay(failures, initial=1.0, maximum=max(1.0, longest), jitter=0.0, random=lambda: 0.0)
    return RetryDecision(after=wait)


def pause_after(error: AsyncAPIRateLimitError) -> float:
    """Return the seconds for which all workers pause after this 429."""
    return min(LONGEST_PAUSE, PAUSE if error.retry_after is None else error.retry_after)


def is_auth(error: ScrapeDoError) -> bool:
    """Tell whether the API refused the account's token."""
    return isinstance(error, AsyncAPIAuthError)


def is_client_error(error: ScrapeDoError) -> bool:
    """Tell whether the API refused the call for good. A 429 or 5xx only refuses it for now.

    A refusal without the API's own body comes from a gateway, and only refuses the call for now.
    """
    if isinstance(error, AsyncAPIRateLimitError) or not isinstance(error, AsyncAPIResponseError):
        return False
    return error.status_code < _SERVER_ERROR and (error.is_api_error or is_auth(error))


def describe_trouble(error: ScrapeDoError) -> str:
    """Describe an error for the time in which a part waits for a retry. A redirect is named with its host."""
    where = f" (status {error.status_code}, to {error.host})" if isinstance(error, AsyncAPIRedirectError) else ""
    return f"{type(error).__name__}{where}: {error}"[:_TOLD]
