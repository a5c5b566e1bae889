"""The command `scrape-do plan`."""

from __future__ import annotations

from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

import click

from scrape_do_celery import runs
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import print_facts
from scrape_do_celery.cli.runs import parameters_of_enqueue
from scrape_do_celery.cli.shapes import PlanShape
from scrape_do_celery.cli.sources import IDENTITY, read_specs

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command("plan")
@json_option(PlanShape)
def print_plan(sources: tuple[str, ...], *, as_json: bool, request: IO[str] | None, **options: Any) -> None:
    """Print what `enqueue` would buy: jobs, duplicates, credits and time.

    Nothing is bought or written. The sources are those of `enqueue`: if their lines have different options, the sums of
    all runs are printed. The credits follow what the account paid for the same hosts before; for other hosts, the
    published prices count.
    """
    specs = read_specs(sources, request, options)
    plans = runs.plan_runs(runs.AppContext.for_app(), specs)
    plan = add_plans(plans)
    if as_json:
        print_json({"runs": len(plans), **plan.to_json()})
    else:
        refusal = [("enqueue would refuse", plan.refusal)] if plan.refusal else []
        count = [("runs", f"{len(plans):,}")] if len(plans) > 1 else []
        tasks, credits_ = _describe_tasks(plan, is_deduped=specs[0].dedupe), ("credits", str(plan.estimate))
        print_facts([*count, *tasks, credits_, _find_time(plan), *refusal])


# Parameters that say nothing about the cost are left out.
print_plan.params += parameters_of_enqueue(*IDENTITY)


def add_plans(plans: Sequence[runs.RunPlan]) -> runs.RunPlan:
    """Return the sum of the plans of runs that start together. The first refusal stands for all."""
    estimates = [one.estimate for one in plans]
    refusals = [one.refusal for one in plans if one.refusal is not None]
    return runs.RunPlan(
        **{name: sum(getattr(one, name) for one in plans) for name in ("targets", "bought", "duplicates", "jobs")},
        estimate=runs.Estimate(
            sum(one.expected for one in estimates),
            sum(one.minimum for one in estimates),
            _add_known([one.maximum for one in estimates]),
        ),
        expected_seconds=_add_known([one.expected_seconds for one in plans]),
        refusal=refusals[0] if refusals else None,
    )


def _add_known(values: Sequence[float | None]) -> float | None:
    """Return the sum; None if one of the values is not known."""
    known = [one for one in values if one is not None]
    return sum(known) if len(known) == len(values) else None


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
