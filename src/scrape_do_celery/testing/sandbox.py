"""The sandbox for the tests of applications."""

from __future__ import annotations

from typing import Any

from scrape_do_celery.testing.faults import rule_of
from scrape_do_sandbox import SandboxThread
from scrape_do_sandbox.pages import HTML

#: The default duration of a task in seconds, long enough that a test can see the task running.
TASK_SECONDS = 0.05


class Sandbox(SandboxThread):
    """A local Async API, on a thread of the test's process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"task_seconds": TASK_SECONDS, **options})

    def fault(self, action: str, **rule: Any) -> str:
        """Add a fault by its name in `FAULTS`, and return the id of the rule.

        Args:
            action: The name of a fault, or one of the sandbox's own actions.
            **rule: `target` restricts the fault to targets that contain this text. `times` is the number of times, and
                `after` the number of matching requests that pass first. Further options depend on the fault. An action
                of the sandbox takes the fields of its rule.

        Raises:
            ValueError: If no such fault exists, or it does not take an option; the message lists the valid names.
        """
        return super().fault(**rule_of(action, rule))

    def page(self, target: str, body: str, *, status: int = 200, content_type: str = HTML) -> str:
        """Set the page of all targets that contain a text, and return the id of the rule.

        The page is for jobs that are created later. If several pages match a target, the last one wins.

        Args:
            target: The text that the targets contain.
            body: The content of the page.
            status: The HTTP status of the target.
            content_type: The `Content-Type` of the page.
        """
        headers = {"Content-Type": content_type}
        return super().fault("task_answers", target=target, body=body, status=status, headers=headers)
