"""The tables of a lab: for the terminal, and for `docs/explanation/answers.md`."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tests.wire.oracle import MutationClass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.wire.harness import CaseResult


def summary_table(results: list[CaseResult]) -> str:
    """Return a table of mutations and their results, by kind of answer."""
    groups: dict[str, list[CaseResult]] = defaultdict(list)
    for result in results:
        groups[
            " + ".join(sorted({field.split(" ")[0] for field in result.fields})) if len(result.fields) == 1 else "pairs"
        ].append(result)
    rows = [f"{'answer':<10}{'mutations':>10}{'harmless':>10}{'detected':>10}{'lies':>8}{'violations':>12}{'idle':>6}"]
    for name, held in [*sorted(groups.items()), ("all", results)]:
        found = Counter(result.expected for result in held)
        rows.append(
            f"{name:<10}{len(held):>10}{found[MutationClass.HARMLESS]:>10}{found[MutationClass.DETECTED]:>10}"
            f"{found[MutationClass.UNDETECTABLE]:>8}{sum(bool(result.violations) for result in held):>12}"
            f"{sum(not result.touched for result in held):>6}"
        )
    return "\n".join(rows)


def violations(results: Iterable[CaseResult], most: int = 6) -> str:
    """Return violations by kind and field, each with names that `--only` takes."""
    groups: dict[tuple[str, str], list[CaseResult]] = defaultdict(list)
    for result in results:
        for what in result.violations:
            groups[what, " + ".join(result.fields) if len(result.fields) == 1 else "pairs"].append(result)
    told = []
    totals: Counter[str] = Counter()
    for (what, _), held in groups.items():
        totals[what] += len(held)
    for what, _ in totals.most_common():
        told.append(f"\n== {what}: {totals[what]}")
        for (name, place), held in sorted(groups.items(), key=lambda pair: -len(pair[1])):
            if name == what:
                told.append(f"  {place}: {len(held)}")
                told += [f"      {result.name}\n          {result.detail}" for result in held[:most]]
    return "\n".join(told)
