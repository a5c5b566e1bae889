"""The JSON that commands print with `--json`. The page of the commands shows these classes; tests compare the output.

A later version may add fields, and changes none. Amounts are in credits. Times are texts of ISO 8601, unless they are
seconds. A field without a value is null.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import click
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Command = TypeVar("Command", bound=Callable[..., Any])


class Shape(BaseModel):
    """The form of a JSON object. A field that is not declared here breaks a test."""

    model_config = ConfigDict(extra="forbid")


class StartedRunShape(Shape):
    """A run that was started."""

    run_id: str = Field(description="the id of the run")
    targets: int = Field(description="the targets that are bought")


class StartShape(Shape):
    """The runs that a command has started."""

    runs: list[StartedRunShape] = Field(description="one run, or one for each set of options in the lines of files")


class EstimateShape(Shape):
    """The cost of a run before it is bought."""

    expected: float = Field(description="the most likely cost if each page succeeds")
    minimum: float = Field(description="the least cost if each page succeeds")
    maximum: float | None = Field(description="the highest cost; null if no rule bounds it")


class PlanShape(Shape):
    """The sum of what the runs of a call would buy."""

    runs: int = Field(description="the number of runs")
    targets: int = Field(description="the targets of the call")
    bought: int = Field(description="the tasks to buy")
    duplicates: int = Field(description="the targets that equal an earlier one")
    jobs: int = Field(description="the jobs, each with 1,000 tasks at most")
    estimate: EstimateShape = Field(description="the cost")
    expected_seconds: float | None = Field(description="how long the tasks take; null if it is not known")
    refusal: str | None = Field(description="why `enqueue` would refuse the run; null if it would start the run")


class ReasonShape(Shape):
    """A reason for which tasks failed."""

    reason: str = Field(description="the reason, without URLs and secrets")
    count: int = Field(description="the number of tasks that failed for it")


class WaitShape(Shape):
    """Why a live run waits."""

    kind: str = Field(description="a `WaitKind`, such as `no_worker`")
    text: str = Field(description="a line for people")
    since: str | None = Field(description="since when")
    until: str | None = Field(description="until when, if the end is known")
    ahead: int | None = Field(description="the parts before this one, if it waits for a job slot")


class ErrorShape(Shape):
    """The error of a failed run."""

    type: str = Field(description="the class of the error")
    message: str = Field(description="its text")


class StatusShape(Shape):
    """The status of a run, as `RunStatus.to_json()`."""

    run_id: str = Field(description="the id of the run")
    state: str = Field(description="a `RunState`; after the end, the outcome")
    has_ended: bool = Field(description="whether the outcome is decided")
    done: int = Field(description="the tasks that succeeded")
    failed: int = Field(description="the tasks that failed, also the gone ones")
    gone: int = Field(description="the tasks that the API no longer knows")
    total: int = Field(description="all tasks")
    credits: float = Field(description="the costs that the API reported")
    jobs: list[str] = Field(description="the ids of the bought jobs")
    created: str = Field(description="when the run was accepted")
    ended: str | None = Field(description="when the run ended")
    unknown_statuses: list[str] = Field(description="status words of the API that this version does not know")
    reasons: list[ReasonShape] = Field(description="the reasons of failed tasks, the most frequent first")
    waiting_for: WaitShape | None = Field(description="why the run waits")
    error: ErrorShape | None = Field(description="the error of a failed run")


class StatusesShape(Shape):
    """The statuses of runs, in the order of the call."""

    runs: list[StatusShape] = Field(description="the runs")


class TaskShape(Shape):
    """A task of an ended run, without its page."""

    number: int = Field(description="the position of the input, from 1; the names of files in `--out` begin with it")
    url: str = Field(description="the URL, without passwords and tokens")
    status: str = Field(description="the status of the task; `gone` if the API no longer knows the task")
    status_code: int | None = Field(description="the HTTP status of the target")
    bytes: int | None = Field(description="the size of the page")
    credits: float | None = Field(description="the cost that the API reported")
    meta: Any = Field(description="the data of the input")
    error: str | None = Field(description="why the task failed")
    file: str | None = Field(description="the path of the page with `--out`")


class ResultShape(Shape):
    """An ended run with its tasks."""

    run: StatusShape = Field(description="the status of the run")
    tasks: list[TaskShape] = Field(description="the tasks, in input order")


class ResultsShape(Shape):
    """Ended runs with their tasks."""

    runs: list[ResultShape] = Field(description="the runs, in the order of their first lines")


class CancelShape(Shape):
    """What a cancel did."""

    run_id: str = Field(description="the id of the run")
    canceling: bool = Field(description="whether the run will be stopped; false if it has ended already")
    state: str = Field(description="the state of the run")


class RefetchShape(Shape):
    """What a refetch did."""

    run_id: str = Field(description="the id of the run")
    fetched: int = Field(description="the pages that were fetched")
    failed: int = Field(description="the pages that could not be fetched")


class BudgetShape(Shape):
    """A limit, or a stop, with its use."""

    account: str | None = Field(description="the id of the account; null for a tag")
    tag: str | None = Field(description="the tag; null for an account")
    period: str | None = Field(description="`day` or `month`; null for a stop without a limit")
    limit: float | None = Field(description="the limit")
    spent: float = Field(description="the costs of the period")
    reserved: float = Field(description="the prices of purchases under way")
    assumed: float = Field(description="the part of `spent` that the API did not report")
    left: float | None = Field(description="what purchases may still reserve")
    overrun: float = Field(description="the part of `spent` above the limit")
    stopped: bool = Field(description="whether nothing more is bought")


class BudgetsShape(Shape):
    """All limits and stops."""

    budgets: list[BudgetShape] = Field(description="the limits and stops")


class BudgetChangeShape(Shape):
    """A change of a limit or of a stop."""

    scope: str = Field(description="the scope, such as `tag:shop:7`")
    period: str | None = Field(description="`day` or `month`; null for a stop")
    limit: float | None = Field(description="the limit; null without one")
    stopped: bool | None = Field(description="whether purchases are stopped; null for a change of a limit")
    changed: bool = Field(description="false if it was so before")


class OrphanShape(Shape):
    """A running job that no run owns."""

    job_id: str = Field(description="the id of the job")
    status: str = Field(description="its status")
    start_time: str | None = Field(description="when it started")
    tasks: int = Field(description="its tasks")
    done: int = Field(description="its ended tasks")
    credits: list[float] = Field(description="its least and its highest possible cost")
    may_belong_to: str | None = Field(description="a run that may still adopt the job")
    previous_owner: str | None = Field(description="an ended run that bought the job")
    searched_by: list[str] = Field(description="runs that searched for such a job and found none")
    end: str | None = Field(description="with `--cancel`: `stopped`, `already ended` or `not stopped`")


class NoOrphanShape(Shape):
    """A named job that is no orphan."""

    job_id: str = Field(description="the id of the job")
    why: str = Field(description="why it is none")


class OrphansShape(Shape):
    """The orphans of the account."""

    orphans: list[OrphanShape] = Field(description="the orphans")
    others: list[NoOrphanShape] = Field(description="named jobs that are no orphans")


class PurchaseShape(Shape):
    """A line of the ledger."""

    time: str = Field(description="when the intent was written")
    run_id: str = Field(description="the run")
    part: int = Field(description="the part of the run")
    sequence: int = Field(description="the number of the purchase of the part, from 1")
    targets: int = Field(description="its targets")
    job_id: str | None = Field(description="the job, if it is known")
    status: str = Field(description="`open`, `confirmed`, `adopted`, `not_found` or `in_doubt`")
    outcome: str | None = Field(description="the outcome of the part")
    credits: float | None = Field(description="the cost that the API reported")
    estimated_credits: float = Field(description="the estimate before the purchase")


class PurchaseSumsShape(Shape):
    """The sums of the purchases."""

    purchases: int = Field(description="all purchases")
    unresolved: int = Field(description="purchases without a known job")
    targets: int = Field(description="their targets")
    known: int = Field(description="purchases with a known cost")
    credits: float = Field(description="the reported costs of the known ones")
    estimated_credits: float = Field(description="the estimates of the known ones")


class LedgerShape(Shape):
    """The ledger of some days."""

    purchases: list[PurchaseShape] = Field(description="the purchases, the oldest first")
    sums: PurchaseSumsShape = Field(description="their sums")


class AuditRowShape(Shape):
    """The purchases of a day."""

    day: str = Field(description="the day (UTC)")
    tag: str | None = Field(description="the tag; null for all runs")
    purchases: int = Field(description="the purchases")
    targets: int = Field(description="their targets")
    estimated: float = Field(description="the prices that were reserved")
    reported: float = Field(description="the costs that the API reported")
    assumed: float = Field(description="what counts as spent without a report")
    in_doubt: int = Field(description="purchases without a known job")


class BalanceShape(Shape):
    """The reported costs beside the balance of the account."""

    since: float = Field(description="the first reading, in seconds since the epoch")
    until: float = Field(description="the last reading")
    reported: float = Field(description="the reported costs of purchases in this time")
    decrease: float = Field(description="by how much the balance fell")
    rise: float = Field(description="by how much it rose")
    excess: float = Field(description="reported costs that the decrease does not cover")


class AuditShape(Shape):
    """Purchases day by day, beside the balance."""

    rows: list[AuditRowShape] = Field(description="the days and tags")
    balance: BalanceShape | None = Field(description="the comparison; null if it was not possible")
    not_compared: str | None = Field(description="why it was not possible")


class FindingShape(Shape):
    """A finding of a check."""

    level: str = Field(description="`ok`, `warning`, `wrong`, or empty for mere information")
    text: str = Field(description="the finding")


class DoctorShape(Shape):
    """The findings of all checks."""

    findings: list[FindingShape] = Field(description="the findings")


class AccountShape(Shape):
    """The account of the token."""

    account: str = Field(description="its fingerprint, as in the ledger and the metrics")
    credits: float = Field(description="the credits that are left")
    concurrency: int = Field(description="its concurrency slots")
    free_concurrency: int = Field(description="the slots that are free now")
    active_jobs: int = Field(description="the jobs that run now")


def json_option(shape: type[Shape]) -> Callable[[Command], Command]:
    """Return the decorator that adds `--json` to a command, and declares the shape of its output."""

    def decorate(command: Command) -> Command:
        command.json_shape = shape  # type: ignore[attr-defined]
        return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)

    return decorate


def shape_of(command: click.Command) -> type[Shape] | None:
    """Return the shape of a command's JSON; None if the command prints none."""
    return getattr(command.callback, "json_shape", None)


def print_json(value: Mapping[str, Any]) -> None:
    """Print an object on one line. Only ASCII is printed, so that each locale can show it."""
    click.echo(json.dumps(value))
