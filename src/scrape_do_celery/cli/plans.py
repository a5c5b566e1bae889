"""The command `scrape-do plan`."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from scrape_do_celery import runs
from scrape_do_celery.cli.output import print_facts
from scrape_do_celery.cli.runs import enqueue_run, read_spec, read_urls

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Parameters of `enqueue` that say nothing about the cost, or that the arguments of `plan` replace.
_NOT_TAKEN: Final = frozenset({"urls", "source", "idempotency_key", "run_id"})


@click.command("plan")
@click.argument("sources", nargs=-1, metavar="[URL|FILE|-]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def print_plan(sources: tuple[str, ...], *, as_json: bool, request: IO[str] | None, **options: Any) -> None:
    """Print what `enqueue` would buy: jobs, duplicates, credits and time.

    Nothing is bought or written. FILE has one URL per line; - is stdin. The credits follow what the account paid for
    the same hosts before; for other hosts, the published prices count.
    """
    spec = read_spec([url for one in sources for url in _read_source(one)], request, options)
    plan = runs.plan_runs(runs.AppContext.for_app(), [spec])[0]
    if as_json:
        click.echo(json.dumps(plan.to_json()))
    else:
        refusal = [("enqueue would refuse", plan.refusal)] if plan.refusal else []
        tasks, credits_ = _describe_tasks(plan, is_deduped=spec.dedupe), ("credits", str(plan.estimate))
        print_facts([*tasks, credits_, _find_time(plan), *refusal])


print_plan.params += [one for one in enqueue_run.params if one.name not in _NOT_TAKEN]


def _read_source(source: str) -> Iterable[str]:
    """Return the URLs of an argument: the argument itself, or the lines of the file that it names.

    Raises:
        click.BadParameter: the argument is neither a URL nor a file.
    """
    if source == "-":
        return read_urls(sys.stdin)
    if "://" in source:
        return [source]
    if not Path(source).is_file():
        raise click.BadParameter(f"{source!r} is neither a URL nor a file; a URL begins with http:// or https://")
    with Path(source).open(encoding="utf-8") as file:
        return read_urls(file)


def _describe_tasks(plan: runs.RunPlan, *, is_deduped: bool) -> list[tuple[str, str]]:
    advice = "" if is_deduped or not plan.duplicates else "; --dedupe buys each of them once"
    return [
        ("targets", f"{plan.targets:,}"),
        ("duplicates", f"{plan.duplicates:,}{advice}"),
        ("tasks to buy", f"{plan.bought:,}"),
        ("jobs", f"{plan.jobs:,}"),
    ]


def _find_time(plan: runs.RunPlan) -> tuple[str, str]:
    if plan.expected_seconds is None:
        return "time", "not known: workers learn it from the first pages of the account"
    return "time", f"about {timedelta(seconds=round(plan.expected_seconds))}, if the account runs nothing else"
