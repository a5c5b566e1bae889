"""Errors of one run.

RunError                                an error of one run
├── ResultNotReadyError (TimeoutError)  the run has not ended yet
├── RunTimeoutError                     (models.results) the run's own `max_wait` passed
├── RunNotFoundError (LookupError)      the store has no record of the run
├── ResultExpiredError (LookupError)    the store has the run, but not its contents
├── JobLostError                        the API no longer knows the job
├── PoisonedRunError                    the run's steps died again and again
├── NewerRecordError                    a newer version of this package wrote the record of the run
├── BudgetExceededError                 a budget or `max_credits` refused a part of the run
└── IdempotencyConflictError (ValueError)  the key was used for another request
"""

from __future__ import annotations

from typing import Any

from scrape_do_celery.errors.base import ScrapeDoError

__all__ = [
    "BudgetExceededError",
    "IdempotencyConflictError",
    "JobLostError",
    "NewerRecordError",
    "PoisonedRunError",
    "ResultExpiredError",
    "ResultNotReadyError",
    "RunError",
    "RunNotFoundError",
]


class RunError(ScrapeDoError):
    """The base class of errors about one run."""

    def __init__(self, message: str = "", run_id: str = "", *rest: Any) -> None:
        super().__init__(message, run_id, *rest)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return str(self.args[1])


class ResultNotReadyError(RunError, TimeoutError):
    """The run has not ended yet. The run continues."""

    @property
    def waiting_for(self) -> dict[str, Any] | None:
        """The reason why the run waits, as `RunStatus.to_json()` has it; None if nothing holds it back."""
        # Not the third argument: Python takes the third argument of each `TimeoutError` away, as the name of a file.
        waiting_for: dict[str, Any] | None = self._get_argument(3)
        return waiting_for


class RunNotFoundError(RunError, LookupError):
    """The store has no record of this run: it was never written, was deleted, or has expired."""


class ResultExpiredError(RunError, LookupError):
    """The store has the run, but its contents, or a record that is needed to read them, have expired or are lost."""


class JobLostError(RunError):
    """The API no longer knows the run's job."""


class NewerRecordError(RunError):
    """A newer version of this package wrote the record of the run. This process neither reads nor changes the run.

    Workers of the newer version carry the run out. Upgrade the package in this process.
    """

    @property
    def version(self) -> int:
        """The version of the record."""
        return int(self._get_argument(2, 0))


class PoisonedRunError(RunError):
    """The run's steps died again and again without progress, so it was taken out of work."""


class BudgetExceededError(RunError):
    """A budget, or `max_credits` of the run, refused to buy a part of the run. Parts that were bought stay readable.

    If `enqueue` raises the error, nothing was written. Amounts are in credits.
    """

    @property
    def budget(self) -> str:
        """The budget that refused: `account day`, `tag:shop:7 month`, or `run` for `max_credits`."""
        return str(self._get_argument(2, ""))

    @property
    def limit(self) -> float:
        """The limit of the budget."""
        return float(self._get_argument(3, 0.0))

    @property
    def spent(self) -> float:
        """The costs that count for the budget."""
        return float(self._get_argument(4, 0.0))

    @property
    def reserved(self) -> float:
        """The prices that purchases under way have reserved."""
        return float(self._get_argument(5, 0.0))

    @property
    def needed(self) -> float:
        """The price that the refused part would have reserved."""
        return float(self._get_argument(6, 0.0))


class IdempotencyConflictError(RunError, ValueError):
    """The idempotency key belongs to a run with another request; `fields` differ. Nothing was written."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields in which the requests differ."""
        return tuple(self._get_argument(2, ()))
