"""The market of the soak: what each part costs, and a log outside the store of what was really bought.

The log has one file for each purchase that was begun. The file is written at once or not at all. Either the buyer
writes what was sold, or a search for the purchase writes that the purchase is closed. So no late buyer buys behind a
search.
"""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scrape_do_celery.config.budget_limits import MC_PER_CREDIT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Targets of each part, the prices of one part in credits, and the tags. The first tag is that of most runs.
TARGETS, PRICES, TAGS = 2, (1, 2, 5, 7.5, 12.5, 25), ("red", "green")
#: Fate of a `POST` -> weight.
_FATES: Final = {"sold": 70, "lost_answer": 8, "not_sent": 7, "lost_request": 5, "rejected": 4, "given_up": 6}
#: The cost of one target, as a share of the price that was reserved for the target; None is not reported.
_SHARES: Final = (0.0, 0.0, 0.5, 0.8, 1.0, 1.0, 1.0, 1.0, 1.2, 2.0, None)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that the soak buys: its tags, the price of each part in credits, and the cap if it has one."""

    run_id: str
    tags: tuple[str, ...]
    prices: tuple[float, ...]
    max_credits: float | None

    @classmethod
    def of(cls, run_id: str) -> PlannedRun:
        """Return the plan of a run by its id. Each process gets the same plan."""
        rng = random.Random(run_id)
        tags = tuple(tag for tag, share in zip(TAGS, (0.7, 0.4), strict=True) if rng.random() < share)
        prices = tuple(rng.choice(PRICES) for _ in range(rng.choice((1, 1, 1, 3, 4))))
        cap = sum(prices) * rng.uniform(0.5, 1.2) if len(prices) > 1 else None
        return cls(run_id, tags, prices, None if cap is None else round(max(cap, *prices), 1))


@dataclass(frozen=True, slots=True)
class Sale:
    """What the market keeps of a purchase. A cost of None is not reported. `doubt` says that the search gives up."""

    name: str
    part_id: str
    intent: float
    price: float
    fate: str
    costs: tuple[float | None, ...]
    sold: bool

    def charge(self) -> tuple[int, int]:
        """Return what the account pays by all that the store can know, and the assumed part of that, in thousandths."""
        reserved = round(self.price * MC_PER_CREDIT)
        if self.fate == "given_up":
            return reserved, reserved
        if not self.sold:
            return 0, 0
        assumed = reserved * sum(cost is None for cost in self.costs) // len(self.costs)
        return round(sum(cost or 0 for cost in self.costs) * MC_PER_CREDIT) + assumed, assumed


class Market:
    """The seller. Its state is a folder, which all processes share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fate(self, name: str) -> str:
        """Return the fate of a purchase by its name, which is the same in each process."""
        return random.Random(f"fate {name}").choices(list(_FATES), list(_FATES.values()))[0]

    def costs(self, name: str, price: float) -> tuple[float | None, ...]:
        """Return what each target costs."""
        rng = random.Random(f"cost {name}")
        shares = [rng.choice(_SHARES) for _ in range(TARGETS)]
        return tuple(None if share is None else round(price / TARGETS * share, 3) for share in shares)

    def sell(self, name: str, intent: float, price: float) -> bool:
        """Sell, unless the purchase was closed before. Return whether it is sold."""
        return self._write(name, intent, price, sold=True)

    def close(self, name: str, intent: float, price: float) -> bool:
        """Look for a purchase and let nobody buy it any more. Return whether it was sold before."""
        return self._write(name, intent, price, sold=False)

    def _write(self, name: str, intent: float, price: float, *, sold: bool) -> bool:
        path, draft = self._folder / name, self._folder / f".{name}.{os.getpid()}"
        draft.write_text(json.dumps({"intent": intent, "price": price, "sold": sold}))
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
        return bool(json.loads(path.read_text())["sold"])

    def sales(self) -> Iterator[Sale]:
        """Return all purchases that were begun and got as far as the market."""
        for path in self._folder.iterdir():
            if path.name.startswith("."):
                continue  # its writer was killed before the link
            told, name = json.loads(path.read_text()), path.name
            part_id, price = name.rpartition("@")[0], told["price"]
            yield Sale(name, part_id, told["intent"], price, self.fate(name), self.costs(name, price), told["sold"])


def name_purchase(part_id: object, marker: str) -> str:
    """Return the name of a purchase: its part, and the marker of its intent."""
    return f"{part_id}@{marker}"
