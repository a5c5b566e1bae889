"""The commands `scrape-do enqueue`, `status`, `result` and `cancel`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from scrape_do_celery import runs
from scrape_do_celery.cli.bulk import BulkWords, act_on_runs
from scrape_do_celery.cli.filters import RunChoice, choose_runs
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import (
    TASK_COLUMNS,
    find_program,
    format_moment,
    print_facts,
    print_rich_table,
    printable,
    task_row,
)
from scrape_do_celery.cli.reports import RunReport, read_record
from scrape_do_celery.cli.shapes import BulkShape, CancelShape, ResultShape, StartShape, StatusShape
from scrape_do_celery.cli.sources import IDENTITY, read_specs, take_sources
from scrape_do_celery.errors import EncryptionKeyError, StoreUnavailableError
from scrape_do_celery.figures import format_figure
from scrape_do_celery.models.reasons import join_reasons, reasons_from_json
from scrape_do_celery.rules.waits import WaitKind
from scrape_do_celery.runs.bulk_actions import CancelAction
from scrape_do_celery.store import PartState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store import RunRecord, RunSpec

_CHECK_INTERVAL = 0.2


@click.command("enqueue")
@take_sources
@click.option("--request", type=click.File(), help="Read the fields of JobCreationRequest from a JSON file.")
@click.option("--geo-code", help="Load pages from this country (two letters, such as us).")
@click.option("--super/--no-super", "super_", default=None, help="Use residential and mobile proxies.")
@click.option("--render", is_flag=True, default=None, help="Render pages in a browser.")
@click.option(
    "--device", type=click.Choice(["desktop", "mobile", "tablet"]), help="Load pages as a browser on this device."
)
@click.option("--output", type=click.Choice(["raw", "markdown"]), help="Return pages in this format.")
@click.option("--timeout", type=int, help="Limit the time of each target, in milliseconds.")
@click.option("--idempotency-key", help="Return the same run for the same key and request.")
@click.option(
    "--run-id",
    "run_ids",
    multiple=True,
    help="Repeat a command whose answer was lost: the id in its error. Repeat the option for each id, in their order.",
)
@click.option("--max-wait", type=float, help="End the run as timed out after this number of seconds.")
@click.option(
    "--early/--no-early",
    default=None,
    help="Fetch each task when it ends, not after the whole job. Default: early from 50 URLs on.",
)
@click.option("--raise-on-task-failure", is_flag=True, help="Fail the run if any task fails.")
@click.option(
    "--max-credits",
    type=float,
    help="Buy a job only if its reserved price fits into this number of credits. Pages may cost more than that.",
)
@click.option(
    "--tag", "tags", multiple=True, help="Count the run for the budget and the reports of this tag. Repeatable."
)
@click.option("--label", help="Show the run under this name. Many runs may share it.")
@click.option("--fairness-key", help="Share the job slots with other keys, such as one key for each customer.")
@click.option("--fairness-weight", type=float, default=1.0, help="Set the share of the key.", show_default=True)
@click.option(
    "--priority", type=int, default=0, help="Go before runs of the same key with a lower number.", show_default=True
)
@click.option(
    "--webhook/--no-webhook",
    default=None,
    help="Let Scrape.do call your receiver at the end of each task. Default: SCRAPE_DO_WEBHOOKS.",
)
@click.option("--dedupe", is_flag=True, help="Buy equal URLs once. The result has an entry for each URL all the same.")
@click.option(
    "--export",
    metavar="PATH",
    help="Let a worker write the pages of the ended run to this absolute path or URL of fsspec, such as "
    "s3://bucket/{run_id}.jsonl.",
)
@json_option(StartShape)
def enqueue_run(sources: tuple[str, ...], request: IO[str] | None, *, as_json: bool, **options: Any) -> None:
    """Start a run and print its id.

    FILE has one URL on each line, or is CSV or JSON lines; - is stdin. Blank lines do not count, nor do lines of text
    that begin with #. If one line is wrong, nothing is bought.

    A JSON line is a URL in quotes, or an object: `url`, `meta` and fields of the request, such as `geo_code`. Lines
    with equal fields are one run, and the id of each run is printed. Without an option, the API's default applies.
    """
    identity = {name: options.pop(name) for name in IDENTITY}
    specs = read_specs(sources, request, options)
    handles = start_runs(specs, **identity)
    if as_json:
        pairs = zip(handles, specs, strict=True)
        print_json({"runs": [{"run_id": one.run_id, "targets": spec.request.size} for one, spec in pairs]})
    else:
        click.echo("\n".join(one.run_id for one in handles))


def parameters_of_enqueue(*left_out: str) -> list[click.Parameter]:
    """Return the parameters of `enqueue` for another command, which has a `--json` of its own."""
    return [one for one in enqueue_run.params if one.name not in {"as_json", *left_out}]


def start_runs(
    specs: Sequence[RunSpec], *, idempotency_key: str | None, run_ids: Sequence[str]
) -> Sequence[runs.RunHandle]:
    """Start the runs of a command.

    Raises:
        click.UsageError: the key or the ids do not fit the number of runs.
        click.ClickException: the store did not answer; the text says how to repeat the command.
    """
    if idempotency_key is not None and len(specs) > 1:
        raise click.UsageError(
            f"the lines have {len(specs)} different sets of options, and each set is a run: --idempotency-key names one"
        )
    if run_ids and len(run_ids) != len(specs):
        raise click.UsageError(f"the call starts {len(specs)} run(s): pass --run-id for each of them, or not at all")
    try:
        return runs.start_runs(specs, [idempotency_key] * len(specs), run_ids or [None] * len(specs))
    except StoreUnavailableError as error:
        if not error.may_be_written:
            raise
        ids = " ".join(f"--run-id {run_id}" for run_id in error.run_ids)
        advice = f"to repeat the command without a second purchase, add {ids}"
        raise click.ClickException(printable(f"{error}; {advice}")) from None


@click.command("status")
@click.argument("run_id")
@json_option(StatusShape)
def print_status(run_id: str, as_json: bool) -> None:
    """Print state, progress and jobs of a run."""
    if as_json:
        print_json(runs.RunHandle(run_id).status.to_json())
    else:
        print_facts(status_facts(run_id))


def status_facts(run_id: str) -> list[tuple[str, str]]:
    """Return the lines that tell the status of a run."""
    handle = runs.RunHandle(run_id)
    record, status = read_record(run_id), handle.status
    return [
        ("run", run_id),
        *_name_facts(status),
        ("state", record.state.value),
        *([] if status.waiting_for is None else [("waiting for", str(status.waiting_for))]),
        ("tasks", f"{status.done:,} done, {status.failed:,} failed, {status.total:,} in all"),
        ("credits", format_figure(status.credits)),
        ("created", format_moment(status.created)),
        *([] if status.ended is None else [("ended", format_moment(status.ended))]),
        *_job_facts(handle),
        *([] if status.export is None else [("export", printable(str(status.export)))]),
        *_trouble_facts(record, str(status.waiting_for)),
        *_unknown_words(record),
        *_error_facts(record),
    ]


def _name_facts(status: runs.RunStatus) -> list[tuple[str, str]]:
    """Return the label, the tags and the hosts of a run that has them."""
    facts = [("label", status.label or ""), ("tags", ", ".join(status.tags)), ("hosts", status.hosts)]
    return [(name, printable(text)) for name, text in facts if text]


def _job_facts(handle: runs.RunHandle) -> list[tuple[str, str]]:
    try:
        return [("job", f"{job.job_id} {printable(str(job.status))}") for job in handle.jobs]
    except EncryptionKeyError as error:
        return [("jobs", printable(str(error)))]


@click.command("result")
@click.argument("run_id")
@click.option(
    "--wait",
    type=float,
    default=0.0,
    help="Wait up to this number of seconds for the end of the run.",
    show_default=True,
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write each page to this folder.")
@json_option(ResultShape)
@click.pass_context
def print_result(ctx: click.Context, run_id: str, wait: float, out: Path | None, as_json: bool) -> None:
    """Print the outcome of a run, with one line per task. The exit code is that of the outcome."""
    _wait_for_end(run_id, wait)
    report = RunReport.read(run_id, out)
    if as_json:
        print_json(report.to_json())
    else:
        print_report(report, out)
    ctx.exit(report.exit_code)


def print_report(report: RunReport, out: Path | None) -> None:
    """Print the tasks and the outcome of an ended run."""
    rows = [task_row(one) for one in report.tasks]
    metas = ["" if one["meta"] is None else json.dumps(one["meta"], ensure_ascii=False) for one in report.tasks]
    if any(metas):
        rows = [(*row, meta) for row, meta in zip(rows, metas, strict=True)]
    print_rich_table((*TASK_COLUMNS, "meta") if any(metas) else TASK_COLUMNS, rows, folds_first=True)
    click.echo()
    record = report.record
    print_facts(
        [("run", record.run_id), ("outcome", str(record.outcome)), *_result_facts(record), *_error_facts(record)]
        + ([("pages", f"in {out}")] if out else [])
        + ([("retry", _explain_retry(record.run_id))] if report.lacks_pages and not record.is_in_doubt else [])
    )


def _explain_retry(run_id: str) -> str:
    return f"pages are missing; to see what they cost, and to buy them again: {find_program()} retry {run_id}"


@click.command("cancel")
@choose_runs
@json_option(CancelShape, BulkShape)
@click.pass_context
def cancel_run(ctx: click.Context, *, run_id: str | None, choice: RunChoice, as_json: bool) -> None:
    """Cancel a run, or all live runs that the filters find, also at Scrape.do.

    Pages that were paid for are still collected. With filters, the command first prints the number of runs, and asks.
    It leaves runs alone that begin while it works.
    """
    if run_id is None:
        act_on_runs(ctx, choice, BulkWords("cancel", "canceled"), CancelAction, as_json=as_json)
        return
    handle = runs.RunHandle(run_id)
    is_canceling = handle.cancel()
    if as_json:
        print_json({"run_id": run_id, "canceling": is_canceling, "state": handle.state.value})
    else:
        click.echo("canceling" if is_canceling else f"nothing to cancel: the run ended as {handle.state}")


def _wait_for_end(run_id: str, wait: float) -> RunRecord:
    until = time.monotonic() + wait
    while (record := read_record(run_id)).outcome is None:
        if time.monotonic() >= until:
            status = runs.RunHandle(run_id).status
            raise status.not_ready_error(f"is {status.state} and has not ended")
        time.sleep(_CHECK_INTERVAL)
    return record


def _trouble_facts(record: RunRecord, shown: str) -> list[tuple[str, str]]:
    """Return the last error of each unfinished part that waits for a retry, under a label of its kind.

    `shown` is the text of the wait. A refused value is not shown twice.
    """
    troubled = [part for part in record.parts if part.api_error and part.state is not PartState.DONE]
    facts = [
        ("refused value" if part.trouble == WaitKind.VALUE_REFUSED else "API error", printable(str(part.api_error)))
        for part in troubled
    ]
    return [(label, text) for label, text in facts if label == "API error" or text not in shown]


def _unknown_words(record: RunRecord) -> list[tuple[str, str]]:
    """Return the status words of the API that this version does not know, if the run met any."""
    words = runs.RunStatus.from_record(record).unknown_statuses
    return [("unknown statuses", printable(", ".join(words)))] if words else []


def _error_facts(record: RunRecord) -> list[tuple[str, str]]:
    error = record.error
    return [] if error is None else [("error", printable(f"{type(error).__name__}: {error}"))]


def _count_text(name: str, number: int) -> str:
    # Gone tasks are among the failed ones, which stand before them.
    return f"{number:,} of them gone" if name == "gone" else f"{number:,} {name}"


def _result_facts(record: RunRecord) -> list[tuple[str, str]]:
    small = record.result or {}
    jobs = ", ".join(small.get("jobs", ()))
    if record.is_in_doubt:
        jobs = f"{jobs}; one more may have been bought" if jobs else "no job is known; one may have been bought"
    counts = small.get("counts", {})
    reasons = reasons_from_json(small.get("reasons"))
    return [
        ("tasks", ", ".join(_count_text(name, number) for name, number in counts.items() if number or name != "gone")),
        *([("reasons", printable(join_reasons(reasons)))] if reasons else []),
        ("credits", format_figure(small.get("credits", 0))),
        ("jobs", jobs or "no job was bought"),
    ]
