"""The commands `scrape-do enqueue`, `status`, `result` and `cancel`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from scrape_do_celery import runs
from scrape_do_celery.cli.group import WRONG
from scrape_do_celery.cli.output import TASK_COLUMNS, print_facts, print_rich_table, printable, printable_url, task_row
from scrape_do_celery.cli.pages import write_page
from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError, StoreUnavailableError
from scrape_do_celery.figures import format_figure
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.models.reasons import join_reasons, reasons_from_json
from scrape_do_celery.rules.outcomes import may_have_bought
from scrape_do_celery.rules.waits import WaitKind
from scrape_do_celery.store import PartState, RunSpec
from scrape_do_celery.store.commands.runs import ReadRun
from scrape_do_celery.store.options import RUN_OPTIONS

if TYPE_CHECKING:
    from scrape_do_celery.store import RunRecord

_CHECK_INTERVAL = 0.2
#: The options of `enqueue` that are neither fields of the request nor options of the run.
_IDENTITY = ("idempotency_key", "run_id")


@click.command("enqueue")
@click.argument("urls", nargs=-1, metavar="URL...")
@click.option("--from", "source", type=click.File(), help="Read more URLs from a file, one per line; - is stdin.")
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
@click.option("--run-id", help="Repeat a command whose answer was lost: the id in its error.")
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
@click.option("--fairness-key", help="Share the job slots with other keys, such as one key for each customer.")
@click.option("--fairness-weight", type=float, default=1.0, help="Set the share of the key.", show_default=True)
@click.option(
    "--priority", type=int, default=0, help="Go before runs of the same key with a lower number.", show_default=True
)
@click.option("--dedupe", is_flag=True, help="Buy equal URLs once. The result has an entry for each URL all the same.")
def enqueue_run(urls: tuple[str, ...], source: IO[str] | None, request: IO[str] | None, **options: Any) -> None:
    """Start a run and print its id.

    Without an option, the API's default applies.
    """
    _refuse_files(urls)
    identity = {name: options.pop(name) for name in _IDENTITY}
    spec = read_spec([*urls, *read_urls(source)], request, options)
    try:
        handle = runs.start_run(spec, **identity)
    except StoreUnavailableError as error:
        if not error.may_be_written:
            raise
        advice = f"to repeat the command without a second purchase, add --run-id {error.run_id}"
        raise click.ClickException(printable(f"{error}; {advice}")) from None
    click.echo(handle.run_id)


def _refuse_files(urls: tuple[str, ...]) -> None:
    for url in urls:
        if "://" not in url and Path(url).is_file():
            raise click.UsageError(
                printable(f"{url!r} is a file, not a URL: to read URLs from the file, use --from {url}")
            )


def read_spec(targets: list[str], request: IO[str] | None, options: dict[str, Any]) -> RunSpec:
    """Return the checked spec of the URLs, the file and the options of a command.

    Raises:
        click.UsageError: neither a URL nor a plugin was given.
    """
    run_options = {name: options.pop(name) for name in RUN_OPTIONS}
    given = _read_fields(request)
    fields = {
        **given,
        **{name.strip("_"): value for name, value in options.items() if value is not None},
    }
    if fields.get("render") is True:
        # The option must not drop the actions of the file.
        fields["render"] = given["render"] if isinstance(given.get("render"), dict) else {}
    if targets:
        fields["targets"] = _join_targets(fields.get("targets"), targets)
    elif not fields.keys() & {"targets", "plugin"}:
        raise click.UsageError("no URL was given: pass URLs, a file of URLs, or --request")
    return RunSpec.from_fields(fields, run_options)


@click.command("status")
@click.argument("run_id")
def print_status(run_id: str) -> None:
    """Print state, progress and jobs of a run."""
    handle = runs.RunHandle(run_id)
    record, status = _read_record(run_id), handle.status
    print_facts(
        [
            ("run", run_id),
            ("state", record.state.value),
            *([] if status.waiting_for is None else [("waiting for", str(status.waiting_for))]),
            ("tasks", f"{status.done:,} done, {status.failed:,} failed, {status.total:,} in all"),
            *_job_facts(handle),
            *_trouble_facts(record, str(status.waiting_for)),
            *_unknown_words(record),
            *_error_facts(record),
        ]
    )


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
@click.pass_context
def print_result(ctx: click.Context, run_id: str, wait: float, out: Path | None) -> None:
    """Print the outcome of a run, with one line per task."""
    record = _wait_for_end(run_id, wait)
    rows, metas, unreadable = [], [], 0
    for number, task in enumerate(runs.RunHandle(run_id).iter_tasks(), start=1):
        rows.append(task_row(task))
        metas.append("" if task.meta is None else json.dumps(task.meta, ensure_ascii=False))
        try:
            _ = out and write_page(out, number, task)
        except ValueError as error:
            unreadable += 1
            click.echo(f"{printable_url(task.url)}: {error}", err=True)
    if any(metas):
        print_rich_table((*TASK_COLUMNS, "meta"), [(*row, meta) for row, meta in zip(rows, metas, strict=True)])
    else:
        print_rich_table(TASK_COLUMNS, rows)
    click.echo()
    print_facts(
        [("run", run_id), ("outcome", str(record.outcome)), *_result_facts(record), *_error_facts(record)]
        + ([("pages", f"in {out}")] if out else [])
    )
    if record.error is not None or unreadable:
        ctx.exit(WRONG)


@click.command("cancel")
@click.argument("run_id")
def cancel_run(run_id: str) -> None:
    """Cancel a run, also at Scrape.do. Pages that were paid for are still collected."""
    handle = runs.RunHandle(run_id)
    click.echo("canceling" if handle.cancel() else f"nothing to cancel: the run ended as {handle.state}")


def _read_record(run_id: str) -> RunRecord:
    store = runs.AppContext.for_app().store
    record = store.run(ReadRun(run_id))
    if record is None:
        _ = runs.RunHandle(run_id).state  # raises an error with the reason
        raise ScrapeDoError(f"run {run_id} was forgotten while the command read it")
    return record


def _wait_for_end(run_id: str, wait: float) -> RunRecord:
    until = time.monotonic() + wait
    while (record := _read_record(run_id)).outcome is None:
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


def _result_facts(record: RunRecord) -> list[tuple[str, str]]:
    small = record.result or {}
    jobs = ", ".join(small.get("jobs", ()))
    if any(may_have_bought(part.outcome, purchases=part.purchases, job_id=part.job_id) for part in record.parts):
        jobs = f"{jobs}; one more may have been bought" if jobs else "no job is known; one may have been bought"
    counts = small.get("counts", {})
    reasons = reasons_from_json(small.get("reasons"))
    return [
        ("tasks", ", ".join(f"{number:,} {name}" for name, number in counts.items())),
        *([("reasons", printable(join_reasons(reasons)))] if reasons else []),
        ("credits", format_figure(small.get("credits", 0))),
        ("jobs", jobs or "no job was bought"),
    ]


def read_urls(source: IO[str] | None) -> list[str]:
    """Return the URLs of a file with one URL per line. Blank lines do not count."""
    return [line.strip() for line in source or () if line.strip()]


def _join_targets(given: Any, targets: list[str]) -> Any:
    # A value that is no list stays, so that its error names it.
    return [*(given or ()), *targets] if given is None or isinstance(given, list) else given


def _read_fields(request: IO[str] | None) -> dict[str, Any]:
    """Return the fields in a request file, under the names of the options.

    Raises:
        UsageError: the file holds no object, or an option of the run.
    """
    fields = {} if request is None else json.load(request)
    if not isinstance(fields, dict):
        raise click.UsageError("the request file must hold one JSON object")
    if wrong := sorted(fields.keys() & {*RUN_OPTIONS, *_IDENTITY}):
        forms = {one.name: one.opts[0] for one in click.get_current_context().command.params}
        options = ", ".join(forms[name] for name in wrong)
        raise click.UsageError(f"the request file has options of the run ({', '.join(wrong)}): give them as {options}")
    # The API's name of a field would stand beside the name of the option, and not be replaced by the option.
    names = {str(field.alias): name for name, field in JobCreationRequest.model_fields.items()}
    return {key if names.get(key) in fields else names.get(key, key): value for key, value in fields.items()}
