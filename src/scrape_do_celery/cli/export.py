"""The command `scrape-do export`: write the pages of a run to files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import print_facts
from scrape_do_celery.cli.shapes import ExportShape
from scrape_do_celery.export.formats import FORMATS
from scrape_do_celery.figures import format_figure
from scrape_do_celery.runs import RunHandle

if TYPE_CHECKING:
    from scrape_do_celery.export.options import FormatName

_STDOUT = "-"


@click.command("export")
@click.argument("run_id")
@click.option(
    "--to",
    required=True,
    metavar="PATH",
    help="Write to this file, folder or URL of fsspec, such as s3://bucket/pages.jsonl; - is stdout.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    help="Write this format. Default: that of the suffix of PATH.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file, or another export in the folder.")
@click.option("--partial", is_flag=True, help="Export a live run with the tasks that are fetched by now.")
@click.option(
    "--rows-per-shard",
    type=click.IntRange(min=1),
    help="Write a folder of shards with this number of rows. Default in a folder: 1000.",
)
@click.option("--no-content", is_flag=True, help="Leave the pages out: jsonl, csv and parquet only.")
@json_option(ExportShape)
def export_run(  # noqa: PLR0913, PLR0917 (one argument for each option)
    run_id: str,
    to: str,
    format_name: FormatName | None,
    overwrite: bool,
    partial: bool,
    rows_per_shard: int | None,
    no_content: bool,
    as_json: bool,
) -> None:
    """Write the pages of a run to a file, or to a folder of shards.

    If the command was interrupted, repeat it: a folder keeps its finished shards.
    """
    if to == _STDOUT and (rows_per_shard or overwrite or as_json):
        raise click.UsageError("--to -: stdout takes the rows, and none of --rows-per-shard, --overwrite and --json")
    report = RunHandle(run_id).export(
        sys.stdout.buffer if to == _STDOUT else to,
        format=format_name,
        overwrite=overwrite,
        partial=partial,
        rows_per_shard=rows_per_shard,
        content=not no_content,
    )
    if as_json:
        fields = {"format": report.format, "rows": report.rows, "failed": report.failed, "bytes": report.size}
        print_json({"run_id": run_id, "to": report.to, **fields})
    elif to != _STDOUT:
        rows = f"{report.rows:,}, {report.failed:,} of them failed" if report.failed else f"{report.rows:,}"
        print_facts(
            [
                ("run", run_id),
                ("to", report.to),
                ("format", report.format),
                ("rows", rows),
                ("bytes", format_figure(report.size)),
            ]
        )
