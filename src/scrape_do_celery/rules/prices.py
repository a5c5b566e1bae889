"""The cost of a request before it is bought: by the prices of the API, and by what tasks like these cost before.

All amounts are in milli-credits.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias
from urllib.parse import quote

from scrape_do_celery.config.budget_limits import MC_PER_CREDIT
from scrape_do_celery.models.plugins.plugin import LEAST_CREDITS, PLUGINS
from scrape_do_celery.models.prices import TaskPrice, find_price, host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from scrape_do_celery.models import JobCreationRequest

    #: Makes a name unreadable, if the store is encrypted.
    Mask: TypeAlias = Callable[[str], str]

#: The share of the known costs, in percent, that a reservation covers.
_PERCENTILE: Final = 95
_LONGEST_SUBJECT: Final = 100
#: Samples from which on a learned price counts in full in a reservation, and the multiple of the published price up to
#: which it counts before: one odd cost must lock no host out of its budgets.
TRUSTED_SAMPLES: Final = 20
LARGEST_FACTOR: Final = 10
_COST: Final = re.compile(r"([0-9]+)=([0-9]+)")


@dataclass(frozen=True, slots=True)
class PriceGroup:
    """The tasks of a request that have one price, and the name under which the store learns their costs.

    `key` has no space. `least_mc`, `price_mc` and `most_mc` are for one task that succeeds; `most_mc` is None if no
    rule bounds the cost.
    """

    key: str
    count: int
    least_mc: int
    price_mc: int
    most_mc: int | None

    @classmethod
    def unknown(cls, count: int) -> Self:
        """Return tasks of which nothing is known, at the lowest price."""
        return cls("?", count, MC_PER_CREDIT, MC_PER_CREDIT, None)


def price_groups(request: JobCreationRequest, mask: Mask | None = None) -> tuple[PriceGroup, ...]:
    """Return the tasks of a request in groups of one price, in the order of their first tasks."""
    tasks = Counter(_name_tasks(request))
    return tuple(_make_group(_name_price(one, mask), price, count) for (one, price), count in tasks.items())


def encode_groups(groups: Iterable[PriceGroup]) -> str:
    """Return the text of groups that `reserve_price` of `lib/prices.lua` takes."""
    return " ".join(f"{one.key} {one.count} {one.price_mc}" for one in groups)


@dataclass(frozen=True, slots=True)
class PricedTasks:
    """The common properties of the tasks of one part, which decide the names of their learned prices.

    `plugin` is empty for targets.
    """

    options: str
    plugin: str = ""

    @classmethod
    def from_record(cls, wire: Mapping[str, object], sets: Iterable[Mapping[str, object]]) -> Self | None:
        """Return the common part of a stored request and of its parameter sets, which are empty for targets.

        If sets of one request have several prices, nothing tells which task has which price. The result is None.
        """
        has_super, has_render = bool(wire.get("Super")), wire.get("Render") is not None
        plugin = wire.get("Plugin")
        if not isinstance(plugin, dict):
            return cls(_name_options(has_super=has_super, has_render=has_render))
        found = {_name_options(has_super=has_super or bool(one.get("super")), has_render=has_render) for one in sets}
        return cls(found.pop(), str(plugin.get("Key"))) if len(found) == 1 else None

    def price_key(self, url: str, mask: Mask | None = None) -> str:
        """Return the name of the learned price of the task with this URL; empty if the host of the URL is unknown."""
        subject = _name_plugin(self.plugin) if self.plugin else host_of(url)
        return _name_price((subject, self.options), mask) if subject else ""


@dataclass(frozen=True, slots=True)
class LearnedPrice:
    """The costs of earlier tasks of one group: pairs of a cost and its count, from the lowest cost to the highest."""

    costs: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the value that `learn_price` of `lib/prices.lua` wrote."""
        return cls(tuple((int(cost), int(count)) for cost, count in _COST.findall(text)))

    @property
    def samples(self) -> int:
        """The number of tasks that count."""
        return sum(count for _, count in self.costs)

    @property
    def least_mc(self) -> int:
        """The lowest cost; 0 without a sample."""
        return self.costs[0][0] if self.costs else 0

    @property
    def most_mc(self) -> int:
        """The highest cost; 0 without a sample."""
        return self.costs[-1][0] if self.costs else 0

    @property
    def mean_mc(self) -> float:
        """The mean of the costs; 0 without a sample."""
        return sum(cost * count for cost, count in self.costs) / (self.samples or 1)

    @property
    def percentile_mc(self) -> int:
        """The lowest of the costs that covers 95 % of the samples; 0 without a sample."""
        wanted, seen = self.samples * _PERCENTILE, 0
        for cost, count in self.costs:
            seen += count
            if seen * 100 >= wanted:
                return cost
        return 0


class CostRange(NamedTuple):
    """The cost of all tasks of a request, if each succeeds. `most_mc` is None if no rule bounds the cost."""

    expected_mc: float
    least_mc: int
    most_mc: int | None


_NOTHING: Final = LearnedPrice()


def estimate_cost(groups: Iterable[PriceGroup], learned: Mapping[str, LearnedPrice]) -> CostRange:
    """Return the cost of the groups. A learned cost outside the bounds of a rule moves the bounds."""
    expected, least, most, is_bounded = 0.0, 0, 0, True
    for group in groups:
        known = learned.get(group.key, _NOTHING)
        expected += group.count * (known.mean_mc if known.costs else group.price_mc)
        least += group.count * (min(group.least_mc, known.least_mc) if known.costs else group.least_mc)
        most += group.count * max(group.most_mc or 0, known.most_mc)
        is_bounded = is_bounded and group.most_mc is not None
    return CostRange(expected, least, most if is_bounded else None)


def reserved_price(groups: Iterable[PriceGroup], learned: Mapping[str, LearnedPrice]) -> int:
    """Return the amount that a purchase of the groups reserves, as `reserve_price` of `lib/prices.lua` does."""
    return sum(one.count * _price_to_reserve(one, learned.get(one.key, _NOTHING)) for one in groups)


def _price_to_reserve(group: PriceGroup, learned: LearnedPrice) -> int:
    known = learned.percentile_mc
    if learned.samples < TRUSTED_SAMPLES:
        known = min(known, LARGEST_FACTOR * group.price_mc)
    return max(group.price_mc, known)


def _name_tasks(request: JobCreationRequest) -> Iterator[tuple[tuple[str, str], TaskPrice]]:
    """Yield for each task its subject and its options, and its price."""
    has_super, has_render = bool(request.super), request.render is not None
    if request.plugin is not None:
        subject, plugin = _name_plugin(request.plugin.key), PLUGINS.get(request.plugin.key)
        for one in request.plugin.params:
            options = _name_options(has_super=has_super or bool(one.get("super")), has_render=has_render)
            known = plugin.credits_of(one) if plugin else None
            yield (subject, options), TaskPrice(known or LEAST_CREDITS, known or LEAST_CREDITS, known)
        return
    options = _name_options(has_super=has_super, has_render=has_render)
    for url in request.targets or ():
        host = host_of(url)
        # No host contains a question mark.
        yield (host or "?", options), find_price(host, has_super=has_super, has_render=has_render)


def _make_group(key: str, price: TaskPrice, count: int) -> PriceGroup:
    most_mc = None if price.most is None else price.most * MC_PER_CREDIT
    return PriceGroup(key, count, price.least * MC_PER_CREDIT, price.price * MC_PER_CREDIT, most_mc)


def _name_price(task: tuple[str, str], mask: Mask | None) -> str:
    """Return the name of the learned price of tasks. Neither a host nor an escaped key contains `|` or `#`."""
    subject, options = task
    if mask is not None:
        subject = f"#{mask(subject)}"
    elif len(subject) > _LONGEST_SUBJECT:
        subject = f"#{hashlib.sha256(subject.encode()).hexdigest()[:32]}"
    return subject + options


def _name_plugin(key: str) -> str:
    """Return a plugin's key as a subject. No host contains a slash."""
    return f"plugin/{quote(key, safe='/', errors='replace')}"


def _name_options(*, has_super: bool, has_render: bool) -> str:
    return "|super" * has_super + "|render" * has_render
