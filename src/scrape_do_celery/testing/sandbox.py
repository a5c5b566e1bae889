"""The sandbox, as tests of applications have it."""

from __future__ import annotations

from typing import Any

from scrape_do_celery.sandbox.pages import HTML
from scrape_do_celery.sandbox.thread import SandboxThread
from scrape_do_celery.testing.faults import rule_of

#: How long a task takes, in seconds, where nothing else is said: long enough to be seen running.
TASK_SECONDS = 0.05


class Sandbox(SandboxThread):
    """A local Async API, on a thread of the test's process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"task_seconds": TASK_SECONDS, **options})

    def fault(self, action: str, **rule: Any) -> str:
        """Puts a fault in force, by its name (`FAULTS`); its id.

        `target` keeps it to targets that contain this text, `times` says how often it happens, `after` how many
        requests that it is for pass unharmed first. The sandbox's own actions, with their fields, are taken as well.

        Raises:
            ValueError: there is no such fault, or it takes no such option; the message lists the right ones.
        """
        return super().fault(**rule_of(action, rule))

    def page(self, target: str, body: str, *, status: int = 200, content_type: str = HTML) -> str:
        """Says what targets that contain this text answer from now on; of several, the last that fits counts.

        For jobs that are made later. The id of the rule.
        """
        headers = {"Content-Type": content_type}
        return super().fault("task_answers", target=target, body=body, status=status, headers=headers)
