"""The JSON that commands about purchases, budgets and the account print with `--json`. See `cli/shapes.py`."""

from __future__ import annotations

from pydantic import Field

from scrape_do_celery.cli.json_output import Shape


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
    label: str | None = Field(description="the label of the run")
    hosts: str = Field(description="the host of its targets, with `, ...` if there are several; for a plugin, its key")
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


class AccountShape(Shape):
    """The account of the token."""

    account: str = Field(description="its fingerprint, as in the ledger and the metrics")
    credits: float = Field(description="the credits that are left")
    concurrency: int = Field(description="its concurrency slots")
    free_concurrency: int = Field(description="the slots that are free now")
    active_jobs: int = Field(description="the jobs that run now")
