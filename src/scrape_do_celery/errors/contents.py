"""The error of content that is not what the caller read it as."""

from __future__ import annotations

from typing import Final, Self

from scrape_do_celery.errors.base import ScrapeDoError

__all__ = ["UnreadableContentError"]

_ADVICE: Final = "Read `content` of the task, which still holds the page."


class UnreadableContentError(ScrapeDoError, ValueError):
    """The content of a task is not what it was read as, such as JSON. The page stays readable as `TaskDetails.content`.

    The error never carries the page, or a part of it.
    """

    @classmethod
    def about_task(cls, task_id: str, job_id: str, expected: str, reason: str, advice: str = "") -> Self:
        """Return the error of one task.

        Args:
            task_id: the id of the task.
            job_id: the id of its job.
            expected: the form that the content was read as, such as `JSON`.
            reason: the first fault, without text of the page and without a full stop.
            advice: a sentence about what the reader can do.
        """
        text = f"The content of task {task_id} (job {job_id}) cannot be read as {expected}: {reason}."
        return cls(f"{text} {advice or _ADVICE}", task_id, job_id, expected, reason)

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return str(self._get_argument(1) or "")

    @property
    def job_id(self) -> str:
        """The id of the task's job."""
        return str(self._get_argument(2) or "")

    @property
    def expected(self) -> str:
        """The form that the content was read as: `base64`, `JSON`, `a ReturnJSON answer`, or the name of a result."""
        return str(self._get_argument(3) or "")

    @property
    def reason(self) -> str:
        """The first fault of the content, without text of the page."""
        return str(self._get_argument(4) or "")
