"""Play mutations one after another, in this process or in several."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from tests.wire.deliveries import all_delivery_mutations
from tests.wire.environment import lab_environment
from tests.wire.messages import ApiRequest, MutableResponse
from tests.wire.mutation import TRANSIENT, ActiveMutation
from tests.wire.mutations import all_mutations, random_pairs
from tests.wire.oracle import Expectation, MutationClass, evaluate, expectation_for
from tests.wire.scenarios import SCENARIOS, run_scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.wire.environment import LabEnvironment
    from tests.wire.mutation import Mutation

#: The mutations of one play: a single mutation, or several.
MutationCase = tuple["Mutation", ...]
#: Real seconds after which an unanswered call ends, if the play leaves calls unanswered.
_SHORT_TIMEOUTS = {"submit_deadline": 0.4, "request_timeout": 0.4}


@dataclass(frozen=True)
class CaseResult:
    """The result of one case: plain values only, because a result crosses processes."""

    name: str
    fields: tuple[str, ...]
    expected: MutationClass
    found: MutationClass
    violations: tuple[str, ...]
    outcome: str
    hours: float
    steps: int
    bought: int
    touched: bool
    took: float
    detail: str


def case_name(case: MutationCase) -> str:
    """Return the name under which `--only` finds the case."""
    return " + ".join(one.name for one in case)


def run_case(environment: LabEnvironment, case: MutationCase) -> CaseResult:
    """Play and judge a case."""
    scenario = SCENARIOS[case[0].scenario]
    expected: Expectation = reduce(Expectation.combined_with, map(expectation_for, case))
    # A refused purchase is answered before the server takes it. All other answers are changed on their way out.
    unsold = next((one for one in case if one.facts.get("sold") is False), None)
    active = [ActiveMutation(one, environment.now) for one in case if one is not unsold]
    settings = _SHORT_TIMEOUTS if any(one.facts.get("hang") for one in case) else {}
    refused_purchase = None if unsold is None else _RefusedPurchase(ActiveMutation(unsold, environment.now))

    def change(response: MutableResponse) -> bool:
        return any([mutation(response) for mutation in active])  # noqa: C419 (each mutation must run)

    began = time.perf_counter()
    observed = run_scenario(environment, scenario, change, refuse=refused_purchase, **settings)
    verdict = evaluate(observed, expected, scenario, transient=all(one.span in TRANSIENT for one in case))
    detail = "; ".join(
        [f"{observed.state} after {observed.took / 3600:.1f} h and {observed.steps} steps, bought {observed.bought}"]
        + [text for text in (observed.error[:300], *observed.escaped_errors[:2], *observed.token_leaks[:1]) if text]
    )
    return CaseResult(
        name=case_name(case),
        fields=tuple(f"{one.kind} {one.field}" for one in case),
        expected=expected.most_severe,
        found=verdict.found,
        violations=verdict.violations,
        outcome=verdict.outcome,
        hours=observed.took / 3600,
        steps=observed.steps,
        bought=observed.bought,
        touched=bool(observed.account.touched) or bool(refused_purchase and refused_purchase.touched),
        took=time.perf_counter() - began,
        detail=detail,
    )


class _RefusedPurchase:
    """Answers in place of the server, which sells nothing: the mutation is applied to an empty answer."""

    def __init__(self, mutation: ActiveMutation) -> None:
        self._mutation, self.touched = mutation, False

    def __call__(self, request: ApiRequest) -> MutableResponse | None:
        response = MutableResponse(request, 201, {})
        if not self._mutation(response):
            return None
        self.touched = True
        return response


def generate_cases(
    *, seed: int, count: int, only: str = "", share: tuple[int, int] = (0, 1), webhooks: bool = False
) -> list[MutationCase]:
    """Return all cases of a lab: each mutation alone, then pairs. `share` (start, n) keeps every n-th case.

    With `webhooks`, deliveries are mutated in place of answers.
    """
    found = all_delivery_mutations() if webhooks else all_mutations()
    cases: list[MutationCase] = [(one,) for one in found] + list(random_pairs(found, count, seed))
    if only:
        return [case for case in cases if only in case_name(case)]
    return cases[share[0] :: share[1]]


def run_cases(cases: Sequence[MutationCase]) -> Iterator[CaseResult]:
    """Play cases in this process."""
    with lab_environment() as environment:
        for case in cases:
            try:
                yield run_case(environment, case)
            except Exception as error:
                raise RuntimeError(f"{case_name(case)} cannot be played: {error}") from error


def run_in_processes(options: dict, processes: int) -> Iterator[CaseResult]:
    """Play the cases in `processes` processes. Each makes its own cases, since a mutation holds code."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [
        context.Process(target=_run_share, args=(queue, options, number, processes), daemon=True)
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    left = processes
    while left:
        result = queue.get()
        if isinstance(result, str):
            raise RuntimeError(result)  # noqa: TRY004 (the error that killed a process)
        if result is None:
            left -= 1
        else:
            yield result
    for worker in workers:
        worker.join()


def _run_share(queue, options: dict, number: int, processes: int) -> None:
    try:
        for result in run_cases(generate_cases(**options)[number::processes]):
            queue.put(result)
    except BaseException as error:  # noqa: BLE001 (sent to the waiting process)
        queue.put(f"{type(error).__name__}: {error}")
    queue.put(None)
