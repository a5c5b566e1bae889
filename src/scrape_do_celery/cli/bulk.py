"""Act on the runs that the options of a command choose: count them, ask, show the progress, and sum up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from scrape_do_celery.cli.exit_codes import ExitCode
from scrape_do_celery.cli.json_output import print_json
from scrape_do_celery.cli.output import print_facts
from scrape_do_celery.cli.progress import ProgressFigures, choose_view
from scrape_do_celery.cli.watching import explained_interrupts, printable_lines
from scrape_do_celery.runs.bulk import BulkCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.cli.filters import RunChoice
    from scrape_do_celery.runs import BulkReport
    from scrape_do_celery.runs.bulk_actions import BulkAction


@dataclass(frozen=True, slots=True)
class BulkWords:
    """The words of a command for what it does."""

    #: the name of the command, such as `cancel`
    verb: str
    #: what happened to a run, such as `canceled`
    done: str
    #: other arguments of the command, which a command that carries on needs too
    arguments: str = ""


@dataclass
class _Work:
    """A call under way, and how to explain its interruption."""

    call: BulkCall
    #: the command without the arguments that choose the runs
    program: str
    choice: RunChoice

    def explain_interruption(self) -> str:
        """Return what was done, and how to carry on."""
        report = self.call.report
        if self.call.dry_run:
            return "Interrupted. Nothing was changed."
        if self.choice.count_left(report) == 0:
            return f"Interrupted after {report.runs:,} runs. None is left."
        return (
            f"Interrupted after {report.runs:,} runs. To carry on with the others:\n"
            f"{self.program} {self.choice.words_to_carry_on(report)}"
        )

    def carry_out(self, total: int, text: str) -> BulkReport:
        """Make the call with a progress of `total` runs, and return its last report."""
        with explained_interrupts(self), choose_view() as view:
            try:
                for report in self.call.iter_reports():
                    view.show(ProgressFigures(report.found, total, text, "", frozenset(), "runs"))
            except Exception:
                # Nobody interrupted the count, and it changed nothing: its error says all.
                if not self.call.dry_run:
                    click.echo(printable_lines(self.explain_interruption()), err=True)
                raise
        return self.call.report


def act_on_runs(
    ctx: click.Context, choice: RunChoice, words: BulkWords, make_action: Callable[[], BulkAction], *, as_json: bool
) -> None:
    """Count the chosen runs, ask, act on them, and print what was done.

    Raises:
        click.UsageError: nobody can answer the question.
        click.Abort: the answer is no.
        click.exceptions.Exit: some runs could not be changed.
    """
    choice.check_answer(words.verb)
    program = f"{ctx.command_path} {words.arguments}".strip()
    count = _make_work(choice, make_action(), program)
    plan = count.carry_out(0, "counted")
    if choice.dry_run:
        _print_report(plan, f"to {words.verb}", as_json=as_json)
        return
    print_facts(report_facts(plan, f"to {words.verb}"), err=True)
    report = plan
    if plan.runs:
        question = f"{words.verb.capitalize()} {_count_runs(plan)}?"
        if not choice.yes and not click.confirm(question, err=True):
            ctx.abort()
        report = _make_work(choice, make_action(), program, count=count.call).carry_out(plan.found, words.done)
    _print_report(report, words.done, as_json=as_json)
    if report.failed:
        ctx.exit(ExitCode.FAILURE)


def _make_work(choice: RunChoice, action: BulkAction, program: str, *, count: BulkCall | None = None) -> _Work:
    """Return the work that counts the runs; with `count`, the work that acts on the counted runs."""
    call = BulkCall(
        action,
        # The counted runs are meant, and none that began or ended while their user read the question.
        choice.filters if count is None else {**choice.filters, "until": count.report.until},
        everything=choice.everything,
        dry_run=count is None,
        limit=choice.limit,
        cursor=choice.cursor,
        counted=None if count is None else count.counted,
    )
    return _Work(call, program, choice)


def _print_report(report: BulkReport, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_json())
    else:
        print_facts(report_facts(report, done))


def report_facts(report: BulkReport, done: str) -> list[tuple[str, str]]:
    """Return the lines that tell what a call did, or would do. `done` are the words for it."""
    return [
        (done, _count_runs(report)),
        *([("tasks to buy", f"{report.tasks:,}")] if report.tasks else []),
        *([("cost", str(report.estimate))] if report.tasks and report.estimate else []),
        *([("pages to delete" if report.estimate else "pages", f"{report.pages:,}")] if report.pages else []),
        *(("left alone", str(one)) for one in report.skipped),
        *(("failed", str(one)) for one in report.failed),
        ("until", report.until.isoformat()),
        *([("cursor", report.cursor)] if report.cursor else []),
    ]


def _count_runs(report: BulkReport) -> str:
    return f"{report.runs:,} run" if report.runs == 1 else f"{report.runs:,} runs"


def describe_options(**options: Any) -> str:
    """Return options of a command as its arguments."""
    given = {name.replace("_", "-"): value for name, value in options.items() if value not in (None, False)}
    return " ".join(f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items())
