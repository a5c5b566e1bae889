"""The acts of the demo: three runs, and their results."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from celery import chain
from celery.exceptions import TimeoutError as CeleryTimeoutError

from examples.demo.parts import DemoError
from examples.demo.progress import Stages, doing, telling
from examples.demo.site import PATHS
from scrape_do_celery import JobFailedError, RunHandle, ScrapeDoError, enqueue
from scrape_do_celery.cli.output import TASK_COLUMNS, describe_task, print_facts, print_rich_table, printable, task_row
from scrape_do_celery.tasks import scrape

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from scrape_do_celery import JobResult

#: Seconds that a run may take on the sandbox and at the real service, and that a cancellation may take there.
_TIMEOUT, _LIVE_TIMEOUT, _CANCEL_TIMEOUT = 60.0, 900.0, 10.0
_CHECK_INTERVAL = 0.1


class Parts(Protocol):
    """The parts that the story needs.

    `live` is true if runs cost money. `site` has the pages. At the URL `refused`, no server listens.
    """

    live: bool
    site: str
    refused: str

    def check(self) -> None:
        """Raise DemoError if a part has ended."""

    def forget_later(self, *results: AsyncResult) -> None:
        """Remove Celery's results when the demo ends, if the server is the user's."""


def tell(parts: Parts, urls: list[str]) -> None:
    """Play the demo.

    Raises:
        DemoError: If a run took too long, the worker died, or a run that should fail did not.
    """
    # Importing the application reads the settings, so the import must wait until they are set.
    from tasks.titles import save_titles
    from worker import app

    app.loader.import_default_modules()
    urls = urls or [parts.site + path for path in PATHS]
    title("1. enqueue: one run, all its pages", "enqueue([...]) returns at once; the worker does the rest.")
    small = _first_run(parts, urls)
    heading = "2. The application's own task, after a scrape"
    if parts.live:
        title(heading, "save_titles gets the result of the run above: nothing is bought twice.")
        saved = save_titles.delay(small)
    else:
        title(heading, "chain(scrape.s(targets=[...]), save_titles.s()) is a canvas of Celery.")
        saved = chain(scrape.s(targets=urls), save_titles.s()).apply_async()
        parts.forget_later(saved.parent)
        _watch(RunHandle(saved.parent.id), parts)
    parts.forget_later(saved)
    _show_titles(_get(saved, _patience(parts)))
    if not parts.live:
        title(
            "3. A run that fails",
            "No server listens at its two URLs, so result() raises an error with the data of the failure.",
        )
        _failing_run(parts)


def title(text: str, about: str) -> None:
    """Print the start of an act, and the call that it shows."""
    sys.stdout.write(f"\n{text}\n{'=' * len(text)}\n{about}\n")
    sys.stdout.flush()


def _first_run(parts: Parts, urls: list[str]) -> dict[str, Any]:
    handle = enqueue(urls)
    parts.forget_later(handle.async_result)
    _watch(handle, parts)
    result = handle.result(timeout=_patience(parts))
    _show_result(result)
    small: dict[str, Any] = _get(handle.async_result, _patience(parts))
    return small


def _failing_run(parts: Parts) -> None:
    handle = enqueue([parts.refused, f"{parts.refused}again"])
    parts.forget_later(handle.async_result)
    _watch(handle, parts)
    try:
        handle.result(timeout=_patience(parts))
    except JobFailedError as error:
        print_facts([("raised", type(error).__name__), ("message", str(error)), ("counts", str(error.counts))])
        print_rich_table((*TASK_COLUMNS[:2], "message"), [_row(task.url, task) for task in handle.iter_tasks()], left=3)
        # Celery stores the result a moment later. Only a stored result can be removed from the user's server.
        handle.async_result.get(timeout=_patience(parts), propagate=False)
        return
    raise DemoError("the run should have failed, and did not")


def _row(url: str, task: Any) -> tuple[str, str, str]:
    return url, str(task.status), printable(task.error_message or "")


def _watch(handle: RunHandle, parts: Parts) -> None:
    """Show a run's progress until the run has ended."""
    try:
        _tell_stages(handle, parts)
    except (KeyboardInterrupt, DemoError):
        if parts.live:
            _give_up(handle)
        raise


def _give_up(handle: RunHandle) -> None:
    """Cancel the run at Scrape.do while a worker is still there to do it."""
    sys.stdout.write("\nCanceling the job at Scrape.do ...")
    sys.stdout.flush()
    handle.cancel()
    with suppress(ScrapeDoError):
        handle.result(timeout=_CANCEL_TIMEOUT)


def _tell_stages(handle: RunHandle, parts: Parts) -> None:
    until, stages = time.monotonic() + _patience(parts), Stages(handle)
    with telling() as (say, work):
        say(f"submitted {_targets(handle)}, as run {handle.run_id}")
        while True:
            status = handle.status
            for line in stages.new(status):
                say(line)
            if status.has_ended:
                return
            if time.monotonic() > until:
                raise DemoError(f"{handle} is still {status.state} after {_patience(parts):g} s")
            work(doing(status))
            parts.check()
            time.sleep(_CHECK_INTERVAL)


def _targets(handle: RunHandle) -> str:
    total = handle.status.total
    return f"{total} target{'s' if total != 1 else ''}"


def _show_result(result: JobResult) -> None:
    print_rich_table(
        TASK_COLUMNS, [task_row(describe_task(number, task)) for number, task in enumerate(result.tasks, 1)]
    )
    cost = "not said" if result.cost is None else f"{result.cost:g} credits"
    ended = f"{len(result.succeeded)} succeeded, {len(result.failed)} failed"
    print_facts([("job", f"{result.job.job_id} {result.job.status}"), ("tasks", ended), ("cost", cost)])


def _show_titles(saved: dict[str, Any]) -> None:
    path = Path(saved["file"])
    sys.stdout.write(f"{saved['titles']} titles saved in {path}:\n")
    entries = json.loads(path.read_text(encoding="utf-8"))
    print_rich_table(
        ("URL", "title", "target"),
        [(one["url"], one["title"] or "-", str(one["status_code"] or "-")) for one in entries],
    )


def _get(result: Any, patience: float) -> Any:
    try:
        return result.get(timeout=patience)
    except CeleryTimeoutError:
        raise DemoError(f"{result} gave no result after {patience:g} s") from None


def _patience(parts: Parts) -> float:
    return _LIVE_TIMEOUT if parts.live else _TIMEOUT
