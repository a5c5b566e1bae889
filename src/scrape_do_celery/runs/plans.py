"""Plan a run before anything is bought: its cost and its time, by the rules and by what the store has learned."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Unpack

from scrape_do_celery.config.budget_limits import MC_PER_CREDIT
from scrape_do_celery.figures import format_figure
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.rules.prices import estimate_cost
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.price_checks import PricedRun, find_refusals
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.commands.prices import ReadAccountFigures, ReadPrices, ReadTaskSeconds
from scrape_do_celery.store.commands.stats import ReadAccounts
from scrape_do_celery.store.inputs import count_repeated
from scrape_do_celery.store.request_inputs import inputs_of
from scrape_do_celery.store.run_settings import apply_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scrape_do_celery.config import Settings
    from scrape_do_celery.models import ForeignModel, JobCreationRequest
    from scrape_do_celery.models.targets import TargetInput
    from scrape_do_celery.rules.prices import CostRange, LearnedPrice
    from scrape_do_celery.store.options import EnqueueOptions

#: Learned prices that one command reads, at most.
_CHUNK: Final = 1000
_KEYWORDS: Final = ("settings",)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a run in credits, before it is bought.

    `expected` is the mean of what tasks with the same host, or plugin, and the same options cost this account before.
    For a host without such a task, the published price counts: of a domain with a range of prices, the highest.
    """

    #: the most likely cost if each page succeeds
    expected: float
    #: the least cost if each page succeeds. Failed pages are free, so a run may cost less.
    minimum: float
    #: the highest cost; None if no rule bounds the price of a host. Only plugins and some domains have a bound.
    maximum: float | None

    def __add__(self, other: Estimate) -> Estimate:
        """Return the cost of both runs together."""
        bounds = (self.maximum, other.maximum)
        most = None if None in bounds else sum(one for one in bounds if one is not None)
        return Estimate(self.expected + other.expected, self.minimum + other.minimum, most)

    def to_json(self) -> dict[str, float | None]:
        """Return the estimate as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        most = "without a known limit" if self.maximum is None else f"{format_figure(self.maximum)} at most"
        return f"{format_figure(self.expected)} credits expected, {format_figure(self.minimum)} at least, {most}"


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The plan of a run, as `enqueue(..., dry_run=True)` returns it. Nothing is bought, written or published."""

    #: the targets, or parameter sets, of the call
    targets: int
    #: the tasks to buy: the targets, or with `dedupe` the different ones
    bought: int
    #: the targets that equal an earlier one; `dedupe=True` saves their cost
    duplicates: int
    #: the jobs of the run, each with `SCRAPE_DO_TARGETS_PER_JOB` tasks at most
    jobs: int
    #: the cost in credits
    estimate: Estimate
    #: how long the tasks take if the account runs no others; None if the store does not know the account's concurrency,
    #: or the time of a task
    expected_seconds: float | None
    #: the text of the `BudgetExceededError` with which `enqueue` would refuse the run; None if it would start the run
    refusal: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        saved = f", {self.duplicates:,} of them duplicates" if self.duplicates else ""
        refused = "" if self.refusal is None else f"; enqueue would refuse: {self.refusal}"
        return f"{self.targets:,} targets{saved}: {self.bought:,} tasks in {self.jobs:,} jobs, {self.estimate}{refused}"


@without_locals
def estimate(
    targets: Iterable[TargetInput] | JobCreationRequest | ForeignModel | None = None,
    *,
    settings: Settings | None = None,
    **options: Unpack[EnqueueOptions],
) -> Estimate:
    """Return what a run would cost. The call reads the store, and does not call the API.

    Args:
        targets: as in `enqueue`.
        settings: as in `enqueue`. Without a token and `SCRAPE_DO_ACCOUNT`, the prices are those of the only account of
            the store; of several accounts, only the published prices count.
        **options: as in `enqueue`. With `dedupe`, equal targets count once.

    Returns:
        The expected, the least and the highest cost in credits.

    Raises:
        ValueError: the request is wrong; the text names the fields.
        StoreUnavailableError: Redis did not answer within `SCRAPE_DO_STORE_TIMEOUT`.
    """
    spec = RunSpec.from_arguments(targets, _KEYWORDS, **options)
    return plan_runs(AppContext.for_app(settings=settings), [spec])[0].estimate


def plan_runs(app_context: AppContext, specs: Sequence[RunSpec]) -> list[RunPlan]:
    """Return what runs of these specs would buy, each as if the other runs did not exist.

    Raises:
        StoreUnavailableError: the store did not answer in time.
    """
    store = app_context.store
    runs = [PricedRun.of(store, "", apply_settings(spec, app_context.settings)) for spec in specs]
    with app_context.limited_call():
        account, learned = read_learned(app_context, runs)
        seconds = _read_seconds_each(app_context, account) if account else None
        refusals = find_refusals(store, account, learned, runs)
    plans = [_make_plan(run, learned, seconds) for run in runs]
    texts = [None if refusal is None else str(refusal) for refusal in refusals]
    return [replace(plan, refusal=text) for plan, text in zip(plans, texts, strict=True)]


def find_account(app_context: AppContext) -> str:
    """Return the account whose prices count; empty if this process does not know the account."""
    settings = app_context.settings
    if settings.api_key is not None or settings.account:
        return settings.account_id
    accounts = app_context.store.run(ReadAccounts())
    return accounts[0] if len(accounts) == 1 else ""


def read_learned(app_context: AppContext, runs: Iterable[PricedRun]) -> tuple[str, dict[str, LearnedPrice]]:
    """Return the account whose prices count, and its learned prices for the groups of runs, by their names."""
    account = find_account(app_context)
    if not account:
        return "", {}
    names = list(dict.fromkeys(group.key for run in runs for group in run.groups))
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    found = app_context.store.run_all([ReadPrices(account, chunk) for chunk in chunks])
    return account, {name: price for prices in found for name, price in prices.items()}


def _read_seconds_each(app_context: AppContext, account: str) -> tuple[float, int] | None:
    """Return the seconds that a task takes, and the tasks that run at once; None if one of both is unknown."""
    figures, seconds = app_context.store.run(ReadAccountFigures(account)), app_context.store.run(ReadTaskSeconds())
    return None if figures is None or seconds is None or figures.concurrency < 1 else (seconds, figures.concurrency)


def _make_plan(run: PricedRun, learned: dict[str, LearnedPrice], timing: tuple[float, int] | None) -> RunPlan:
    spec, bought = run.spec, run.spec.request.size
    targets = spec.inputs.count(bought) if spec.inputs else bought
    return RunPlan(
        targets=targets,
        bought=bought,
        duplicates=targets - bought + count_repeated(inputs_of(spec.request)),
        jobs=len(run.parts),
        estimate=_make_estimate(estimate_cost(run.groups, learned)),
        expected_seconds=None if timing is None else timing[0] * max(1.0, bought / timing[1]),
    )


def _make_estimate(cost: CostRange) -> Estimate:
    most = None if cost.most_mc is None else cost.most_mc / MC_PER_CREDIT
    return Estimate(round(cost.expected_mc) / MC_PER_CREDIT, cost.least_mc / MC_PER_CREDIT, most)
