"""Trials: runs of the lab, the faults planned against them, and their expected results."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from scrape_do_celery.models.urls import whatwg_form
from scrape_do_sandbox.url_writers import WRITERS

SUCCEEDED = frozenset({"succeeded"})
#: The entry point of a run without any record. Its outcome must be delivered all the same.
UNKNOWN_RUN = "unknown_run"
#: The tag of the budget that a third of all runs share.
WIDE_TAG = "wide"
#: The cap of a run with `max_credits`, for each target. It is the highest cost of a target.
_CAP = 3
#: Queries of URLs that sometimes ask the sandbox for pages of another kind, size and cost.
_PAGE_QUERIES = ("", "", "", "binary=1", "size=3000", "binary=1&size=20000", "cost=0", "cost=3")
#: The share of targets that servers spell in different ways; of trials whose targets differ in the fragment alone; and
#: of trials whose task ids are in another order than their targets.
_ODD_SHARE, _FRAGMENT_SHARE, _SHUFFLED_SHARE = 0.5, 0.12, 0.3
_GEO = ("us", "de", "gb", "fr", None)


@dataclass
class Run:
    """A run of a trial: its request and its expected result."""

    run_id: str
    targets: list[str]
    options: dict[str, Any]
    succeeded: int
    failed: int = 0
    gone: int = 0
    #: Pages among the lost ones that a delivery may have brought before.
    kept: int = 0
    #: The expected outcomes of this run, if they differ from those of its trial.
    expect: frozenset[str] | None = None
    purchases: tuple[int, int] | None = None
    #: Tags beside the tags of each run.
    more_tags: tuple[str, ...] = ()

    @property
    def counts(self) -> list[dict[str, int]]:
        """The right counts of the run. A page that a delivery has brought is not lost if the API loses the page."""
        total = len(self.targets)
        return [
            {"total": total, "succeeded": self.succeeded + kept, "failed": self.failed - kept, "gone": self.gone - kept}
            for kept in range(self.kept + 1)
        ]

    @property
    def tag(self) -> str:
        """The tag that no other run has, so that its spend can be read."""
        return f"run:{self.run_id}"

    @property
    def max_credits(self) -> float | None:
        """The cap of the run. A fifth of all runs has one."""
        return _CAP * len(self.targets) if crc32(self.run_id.encode()) % 5 == 0 else None

    @property
    def budget_options(self) -> dict[str, Any]:
        """The tags and the cap of the run."""
        shared = (WIDE_TAG,) if crc32(self.run_id.encode()) % 3 == 0 else ()
        options = {"tags": [self.tag, *shared, *self.more_tags], "max_credits": self.max_credits}
        return {name: value for name, value in options.items() if value is not None}

    @property
    def fairness_options(self) -> dict[str, Any]:
        """The fairness key of the run, its weight and its priority. Half of all runs have a key."""
        number = crc32(self.run_id.encode()) // 2
        if number % 2:
            return {}
        return {"fairness_key": f"k{number % 3}", "fairness_weight": 1 + number % 4, "priority": number % 5 - 2}

    @property
    def has_meta(self) -> bool:
        """Whether the inputs have `meta`, and the first target comes twice and is bought once."""
        return crc32(self.run_id.encode()) % 2 == 0 and len(set(self.targets)) == len(self.targets)

    @property
    def arguments(self) -> dict[str, Any]:
        """The targets and options as a call of `enqueue` has them. A `meta` is the index of the input."""
        options = {**self.options, **self.budget_options, **self.fairness_options}
        if not self.has_meta:
            return {"targets": self.targets, **options}
        urls = [*self.targets, self.targets[0]]
        return {"targets": [{"url": url, "meta": at} for at, url in enumerate(urls)], "dedupe": True, **options}

    def is_meta_of(self, meta: Any, url: str) -> bool:
        """Return whether an input with this `meta` has this URL, in any spelling that is one page."""
        return whatwg_form(self.targets[meta % len(self.targets)]) == whatwg_form(url)


@dataclass
class PlannedFault:
    """Actions at a point for the run with index `run` in the trial, or for any run if `run` is None."""

    point: str
    actions: list[dict[str, Any]]
    run: int | None = 0
    after: float = 0.0


@dataclass
class Trial:
    """Runs and the faults planned against them. `expect` holds the right outcomes."""

    seed: int | str
    number: int
    kind: str
    scenario: str
    runs: list[Run]
    planned_faults: list[PlannedFault] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)
    #: The way in which the runs are started; see `entry_points`.
    start: str = "enqueue"
    #: Actions of the lab itself: seconds after the start, and the action.
    nemesis_actions: list[tuple[float, str]] = field(default_factory=list)
    expect: frozenset[str] = SUCCEEDED
    purchases: tuple[int, int] = (1, 1)
    #: Pages may be missing, because the run may have ended before.
    partial: bool = False
    #: The job may go on after the run's end, because the API did not stop it.
    unstoppable: bool = False
    #: Seconds for which the run is watched after its end.
    linger: float = 0.0
    #: Condition for the trial to count: a hit that is `main`, `any` hit, a `rule` that fired, or `nothing` at all.
    counts_by: str = "main"
    #: The sandbox's way to write this trial's URLs back, and whether its task ids are in another order than its
    #: targets.
    writer: str = "verbatim"
    shuffled: bool = False
    #: The limit in credits of the budget that only the runs of this trial share; None without such a budget.
    budget: int | None = None

    # Events of the trial
    began: float = 0.0
    ended: float = 0.0
    hits: list[dict[str, Any]] = field(default_factory=list)
    rule_ids: list[str] = field(default_factory=list)
    fired: int = 0
    problems: list[str] = field(default_factory=list)
    excused: bool = False
    #: Why a run of the trial was left in doubt, if that outcome was not expected.
    in_doubt: str = ""
    most_purchases: int = 0

    @property
    def host(self) -> str:
        """The part that all hosts of this trial's targets have, and no other trial's hosts."""
        return host_of(self.seed, self.number)

    @property
    def budget_tag(self) -> str:
        """The tag of the budget that only the runs of this trial share."""
        return f"trial:{self.host}"

    @property
    def is_shuffled(self) -> bool:
        """Whether any rule shuffles the task ids."""
        return self.shuffled or any(rule["action"] == "shuffle_task_ids" for rule in self.rules)

    def url_rules(self) -> list[dict[str, Any]]:
        """Return the sandbox's rules for writing this trial's jobs. The rules are no faults and count nothing."""
        rule = {"kind": "create_job", "target": self.host}
        urls = [{**rule, "action": "job_urls", "value": self.writer}] if self.writer != "verbatim" else []
        return urls + ([{**rule, "action": "job_shuffles", "seed": self.number}] if self.shuffled else [])

    @property
    def by_message(self) -> bool:
        """Whether a message is the run's only trace at first."""
        return self.start in {"message", UNKNOWN_RUN}

    @property
    def counted(self) -> bool:
        """Whether the planned fault really happened."""
        if self.counts_by == "rule":
            return self.fired > 0
        if self.counts_by == "main":
            return any(hit.get("main") for hit in self.hits)
        return self.counts_by == "nothing" or bool(self.hits)

    def describe(self) -> dict[str, Any]:
        """Return the facts that a reader needs about a failed trial."""
        name = f"{self.number} of seed {self.seed}: {self.kind}, scenario {self.scenario}, start {self.start}"
        history = [f"run {run.run_id}: {run.targets} {run.options}" for run in self.runs]
        history += [f"plan {plan.point}: {plan.actions}" for plan in self.planned_faults]
        history += [f"rule {rule}" for rule in self.rules]
        history.append(f"URLs are written by {self.writer}, task ids are {'shuffled' if self.shuffled else 'in order'}")
        history += [
            f"{hit['at'] - self.began:+.2f} s {hit['kind']} at {hit['hit']}, pid {hit['pid']}" for hit in self.hits
        ]
        history.append(f"began {self.began:.2f}, ended {self.ended - self.began:+.2f} s")
        problems = [*self.problems, self.in_doubt] if self.in_doubt else list(self.problems)
        return {"trial": name, "problems": problems, "history": history}

    def faults_by_point(self) -> dict[tuple[int | None, str], list[dict[str, Any]]]:
        """Return the planned actions at each point, in order."""
        together: dict[tuple[int | None, str], list[dict[str, Any]]] = {}
        for plan in self.planned_faults:
            together.setdefault((plan.run, plan.point), []).extend(
                {**action, "trial": self.number, "after": plan.after} for action in plan.actions
            )
        return together

    @property
    def recovery_seconds(self) -> float:
        """Seconds from the last hit to the end."""
        moments = [hit["at"] for hit in self.hits]
        return max(0.0, self.ended - (max(moments) if moments else self.began))


def new_trial(seed: int | str, number: int, kind: str, scenario: str) -> tuple[Trial, random.Random]:
    """Make a trial with one plain run. Return it with the random numbers for the rest of it."""
    rng = random.Random(f"{seed}/{number}/{kind}/{scenario}")
    targets = _targets(rng, host_of(seed, number))
    geo = rng.choice(_GEO)
    options = {} if geo is None else {"geo_code": geo}
    run_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    trial = Trial(seed, number, kind, scenario, [Run(run_id, targets, options, len(targets))])
    trial.writer, trial.shuffled = rng.choice(tuple(WRITERS)), len(targets) > 1 and rng.random() < _SHUFFLED_SHARE
    return trial, rng


def host_of(seed: int | str, number: int) -> str:
    """Return the host of a trial's targets."""
    return f"t{seed}-{number}.example"


def _targets(rng: random.Random, host: str) -> list[str]:
    count = rng.choice((1, 1, 2, 3, 4))
    if rng.random() < _FRAGMENT_SHARE:
        return [f"https://{host}/app#/p/{index}" for index in range(count)]
    targets = [_target(rng, host, index) for index in range(count)]
    return [_with_query(target, query) if (query := rng.choice(_PAGE_QUERIES)) else target for target in targets]


def _target(rng: random.Random, host: str, index: int) -> str:
    """Return a target, sometimes in a spelling that servers write back in different ways."""
    spellings = (
        f"HTTPS://p{index}.{host}/",
        f"https://{host}:443/{index}",
        f"https://{host}/{index}/b%c3%bccher",
        f"https://b\u00fccher-{index}.{host}/",
        f"https://p{index}.{host}",
        f"https://fa\u00df-{index}.{host}/",
        f"https://{host}/stra\u00dfe/{index}",
        f"https://{host}/{index}?q=men's",
        f"https://{host}/{index}?",
        f"https://{host}/%7e{index}/%c3%bc\u00fc",
        f"https://{host}/{index}?q=a%20b",
        f"https://{host}/{index}?q=a+b&p=%7e&flag",
        f"https://{host}/{index}?q=stra\u00dfe",
        f"https://{host}/{index}#top",
        # Of an address that trials share, one would learn the prices of the others.
        f"http://[2001:DB8:0:{crc32(host.encode()) & 0xFFFF:x}::{index + 1}]:80/{host}",
    )
    return rng.choice(spellings) if rng.random() < _ODD_SHARE else f"https://{host}/{index}"


def add_equal_run(trial: Trial, rng: random.Random) -> None:
    """Add a second run with equal targets and other options."""
    first = trial.runs[0]
    first.options = {"geo_code": "us"}
    run_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    trial.runs.append(Run(run_id, list(first.targets), {"geo_code": "de"}, first.succeeded, first.failed, first.gone))


def add_bystanders(trial: Trial, rng: random.Random, count: int) -> None:
    """Add runs with other targets, which the faults of the first run must not affect."""
    for index in range(count):
        targets = [f"https://by{index}.{trial.host}/{number}" for number in range(2)]
        run_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        trial.runs.append(Run(run_id, targets, {}, len(targets)))


def with_query(trial: Trial, query: str, *, only_first: bool = False) -> None:
    """Add a query for the sandbox to all targets, or to the first target of each run."""
    for run in trial.runs:
        for index, target in enumerate(run.targets):
            if index == 0 or not only_first:
                run.targets[index] = _with_query(target, query)


def _with_query(target: str, query: str) -> str:
    """Return the target with this text added to its query."""
    url, mark, fragment = target.partition("#")
    between = "" if url.endswith("?") else "&" if "?" in url else "?"
    return f"{url}{between}{query}{mark}{fragment}"
