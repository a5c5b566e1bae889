"""The reports of ended runs: a row for each task, and the files of the pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from scrape_do_celery import runs
from scrape_do_celery.cli.exit_codes import ExitCode, find_exit_code, find_gravest
from scrape_do_celery.cli.output import describe_task, printable_url
from scrape_do_celery.cli.pages import write_page
from scrape_do_celery.cli.progress import track_items
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.store.commands.runs import ReadRun

if TYPE_CHECKING:
    from pathlib import Path

    from scrape_do_celery.store import RunRecord


def read_record(run_id: str) -> RunRecord:
    """Return the record of a run.

    Raises:
        RunNotFoundError: the store has no such run.
    """
    store = runs.AppContext.for_app().store
    record = store.run(ReadRun(run_id))
    if record is None:
        _ = runs.RunHandle(run_id).state  # raises an error with the reason
        raise ScrapeDoError(f"run {run_id} was forgotten while the command read it")
    return record


@dataclass(frozen=True, slots=True)
class RunReport:
    """The tasks of an ended run, without their pages."""

    record: RunRecord
    #: the tasks, in the form of `TaskShape`
    tasks: list[dict[str, Any]]
    #: the number of pages that could not be decoded
    unreadable: int
    #: whether a target of the run has no page that was paid for
    lacks_pages: bool

    @classmethod
    def read(cls, run_id: str, out: Path | None, written: int = 0) -> RunReport:
        """Read the tasks of a run. Write each page to the folder `out`, which has `written` pages of other runs."""
        record, tasks, unreadable, pages = read_record(run_id), [], 0, 0
        total, found = sum(part.total for part in record.parts), runs.RunHandle(run_id).iter_tasks()
        text = "pages written" if out else "pages read"
        for number, task in enumerate(track_items(found, total, text), start=written + 1):
            file: Path | None = None
            try:
                file = write_page(out, number, task) if out else None
            except ValueError as error:
                unreadable += 1
                click.echo(f"{printable_url(task.url)}: {error}", err=True)
            pages += task.has_page
            tasks.append(describe_task(number, task, file))
        return cls(record, tasks, unreadable, lacks_pages=pages < max(total, len(tasks)))

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the outcome; that of a failure if a page cannot be read."""
        unread = [ExitCode.FAILURE] if self.unreadable else []
        return find_gravest([find_exit_code([self.record.state]), *unread])

    def to_json(self) -> dict[str, Any]:
        """Return the report in the form of `ResultShape`."""
        return {"run": runs.RunStatus.from_record(self.record).to_json(), "tasks": self.tasks}
