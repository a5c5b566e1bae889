"""The JSON that commands about runs print with `--json`.

The page of the commands shows these classes; tests compare the output. A later version may add fields and changes none.
Amounts are in credits. Times are texts of ISO 8601, unless they are seconds. A field without a value is null.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from scrape_do_celery.cli.json_output import Shape


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


class ExportStatusShape(Shape):
    """The export that follows a run."""

    state: str = Field(description="`waiting`, `writing`, `done`, `empty` (the run has no entry) or `failed`")
    to: str = Field(description="the file or the folder; empty until the files are whole")
    rows: int | None = Field(description="the rows that were written")
    fault: str | None = Field(description="the kind of the error of the last attempt")
    error: str | None = Field(description="the error of the last attempt")


class ListedRunShape(Shape):
    """A run of the list."""

    run_id: str = Field(description="the id of the run")
    label: str | None = Field(description="the label of the run")
    tags: list[str] = Field(description="the tags of the run")
    hosts: str = Field(description="the host of the targets, with `, ...` if there are several; for a plugin, its key")
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
    export: ExportStatusShape | None = Field(description="the export that follows the run")
    error: ErrorShape | None = Field(description="the error of a failed run")


class StatusShape(ListedRunShape):
    """The status of a run, as `RunStatus.to_json()`."""

    waiting_for: WaitShape | None = Field(description="why the run waits")


class StatusesShape(Shape):
    """The statuses of runs, in the order of the call."""

    runs: list[StatusShape] = Field(description="the runs")


class RunListShape(Shape):
    """A part of the list of runs."""

    runs: list[ListedRunShape] = Field(description="the runs, the newest first")
    newer: list[str] = Field(description="the ids of runs that a newer version wrote, and this version cannot read")
    cursor: str | None = Field(description="the cursor of the next runs; null if no run follows")


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


class RetryShape(Shape):
    """The child of a run."""

    run_id: str = Field(description="the id of the child")
    parent: str | None = Field(description="the run before it in the lineage; null if the child was live already")
    targets: int = Field(description="the targets that are bought again; 0 if the child was live already")


class ForgetShape(Shape):
    """A run that was deleted."""

    run_id: str = Field(description="the id of the run")
    pages: int = Field(description="the stored pages that were deleted with it")


class RunGroupShape(Shape):
    """Runs that a command left alone, or failed to change, for the same reason."""

    reason: str = Field(description="the reason, such as `live` or `in_doubt`; for failures, the class of the error")
    count: int = Field(description="the number of runs")
    run_ids: list[str] = Field(description="the ids of up to three of them")
    text: str = Field(description="the reason in words, or the text of the first error")


class BulkShape(Shape):
    """What a command did to the runs that its filters found, or with `--dry-run` would do."""

    runs: int = Field(description="the runs that were canceled, retried or forgotten")
    tasks: int = Field(description="the tasks that are bought again")
    pages: int = Field(description="the stored pages that were deleted")
    estimate: EstimateShape | None = Field(description="what the tasks cost; null without `--dry-run`")
    skipped: list[RunGroupShape] = Field(description="the runs that were left alone, by reason")
    failed: list[RunGroupShape] = Field(description="the runs that could not be changed, by error")
    until: str = Field(description="only runs that were written before this time count")
    cursor: str | None = Field(description="where to carry on with the same filters and `until`; null at the end")


class RefetchShape(Shape):
    """What a refetch did."""

    run_id: str = Field(description="the id of the run")
    fetched: int = Field(description="the pages that were fetched")
    failed: int = Field(description="the pages that could not be fetched")


class FindingShape(Shape):
    """A finding of a check."""

    level: str = Field(description="`ok`, `warning`, `wrong`, or empty for mere information")
    text: str = Field(description="the finding")


class DoctorShape(Shape):
    """The findings of all checks."""

    findings: list[FindingShape] = Field(description="the findings")


class ExportShape(Shape):
    """An export that was written."""

    run_id: str = Field(description="the run")
    to: str = Field(description="the file, folder or URL")
    format: str = Field(description="`jsonl`, `csv`, `parquet`, `warc` or `files`")
    rows: int = Field(description="the rows")
    failed: int = Field(description="the rows of tasks that failed")
    bytes: int = Field(description="the bytes that were written")


class TrustShape(Shape):
    """The trust in delivered pages of an account."""

    account: str = Field(description="the id of the account")
    trusted: bool = Field(description="whether delivered pages are believed")
    off_since: str | None = Field(description="since when they are not")
    pages: int = Field(description="the pages that were delivered and stored since the trust began")
    reason: str | None = Field(description="why they are not believed")


class TrustsShape(Shape):
    """The trust in delivered pages of all accounts."""

    accounts: list[TrustShape] = Field(description="the accounts of the store")


class TrustChangeShape(Shape):
    """An account whose delivered pages are believed."""

    account: str = Field(description="the id of the account")
    changed: bool = Field(description="whether they were not believed before")
