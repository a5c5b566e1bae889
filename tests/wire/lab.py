"""Plays mutations one after another, in this process or in two."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from tests.wire.driver import SCENARIOS, play
from tests.wire.ground import laid
from tests.wire.mutation import PASSING, Tamper
from tests.wire.mutations import all_mutations, pairs
from tests.wire.oracle import Class, Expected, expect, judge
from tests.wire.wire import Asked, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.wire.ground import Ground
    from tests.wire.mutation import Mutation

#: One or more mutations of one play.
Deal = tuple["Mutation", ...]
#: Real seconds after which a call that is not answered ends, where that is what is played.
_IMPATIENT = {"submit_deadline": 0.4, "request_timeout": 0.4}


@dataclass(frozen=True)
class Line:
    """What came of one deal: values only, since it crosses processes."""

    name: str
    fields: tuple[str, ...]
    expected: Class
    found: Class
    violations: tuple[str, ...]
    outcome: str
    hours: float
    steps: int
    bought: int
    touched: bool
    took: float
    detail: str


def name_of(deal: Deal) -> str:
    """How `--only` finds it again."""
    return " + ".join(one.name for one in deal)


def play_one(ground: Ground, deal: Deal) -> Line:
    """Plays a deal and judges."""
    scenario = SCENARIOS[deal[0].scenario]
    expected: Expected = reduce(Expected.with_, map(expect, deal))
    # A purchase that the server refuses is answered before the server takes it; all else is changed on its way out.
    unsold = next((one for one in deal if one.facts.get("sold") is False), None)
    tampers = [Tamper(one, ground.now) for one in deal if one is not unsold]
    settings = _IMPATIENT if any(one.facts.get("hang") for one in deal) else {}
    refusing = None if unsold is None else _Refusing(Tamper(unsold, ground.now))

    def change(wire: Wire) -> bool:
        return any([tamper(wire) for tamper in tampers])  # noqa: C419 (each has its turn)

    began = time.perf_counter()
    played = play(ground, scenario, change, refuse=refusing, **settings)
    verdict = judge(played, expected, scenario, passing=all(one.span in PASSING for one in deal))
    detail = "; ".join(
        [f"{played.state} after {played.took / 3600:.1f} h and {played.steps} steps, bought {played.bought}"]
        + [text for text in (played.error[:300], *played.escaped[:2], *played.leaks[:1]) if text]
    )
    return Line(
        name=name_of(deal),
        fields=tuple(f"{one.kind} {one.field}" for one in deal),
        expected=expected.most,
        found=verdict.found,
        violations=verdict.violations,
        outcome=verdict.outcome,
        hours=played.took / 3600,
        steps=played.steps,
        bought=played.bought,
        touched=bool(played.account.touched) or bool(refusing and refusing.touched),
        took=time.perf_counter() - began,
        detail=detail,
    )


class _Refusing:
    """Answers in place of the server, which sells nothing: the mutation is applied to an empty answer."""

    def __init__(self, tamper: Tamper) -> None:
        self._tamper, self.touched = tamper, False

    def __call__(self, asked: Asked) -> Wire | None:
        wire = Wire(asked, 201, {})
        if not self._tamper(wire):
            return None
        self.touched = True
        return wire


def deals(*, seed: int, count: int, only: str = "", share: tuple[int, int] = (0, 1)) -> list[Deal]:
    """All deals of a lab: each mutation alone, then pairs; every n-th of them for a share."""
    found = all_mutations()
    dealt: list[Deal] = [(one,) for one in found] + list(pairs(found, count, seed))
    if only:
        return [deal for deal in dealt if only in name_of(deal)]
    return dealt[share[0] :: share[1]]


def play_all(dealt: Sequence[Deal]) -> Iterator[Line]:
    """Plays in this process."""
    with laid() as ground:
        for deal in dealt:
            try:
                yield play_one(ground, deal)
            except Exception as error:
                raise RuntimeError(f"{name_of(deal)} cannot be played: {error}") from error


def play_wide(options: dict, processes: int) -> Iterator[Line]:
    """Plays in so many processes; each deals for itself, since a mutation holds code."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [
        context.Process(target=_work, args=(queue, options, number, processes), daemon=True)
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    left = processes
    while left:
        line = queue.get()
        if isinstance(line, str):
            raise RuntimeError(line)  # noqa: TRY004 (it is what a process died of)
        if line is None:
            left -= 1
        else:
            yield line
    for worker in workers:
        worker.join()


def _work(queue, options: dict, number: int, processes: int) -> None:
    try:
        for line in play_all(deals(**options)[number::processes]):
            queue.put(line)
    except BaseException as error:  # noqa: BLE001 (told to whoever waits)
        queue.put(f"{type(error).__name__}: {error}")
    queue.put(None)
