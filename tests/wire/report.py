"""The tables of a lab: for the terminal, and for `docs/explanation/answers.md`."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tests.wire.oracle import Class

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.wire.lab import Line


def table(lines: list[Line]) -> str:
    """By kind of answer: mutations, and what came of them."""
    groups: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        groups[
            " + ".join(sorted({field.split(" ")[0] for field in line.fields})) if len(line.fields) == 1 else "pairs"
        ].append(line)
    rows = [f"{'answer':<10}{'mutations':>10}{'harmless':>10}{'detected':>10}{'lies':>8}{'violations':>12}{'idle':>6}"]
    for name, held in [*sorted(groups.items()), ("all", lines)]:
        found = Counter(line.expected for line in held)
        rows.append(
            f"{name:<10}{len(held):>10}{found[Class.HARMLESS]:>10}{found[Class.DETECTED]:>10}"
            f"{found[Class.UNDETECTABLE]:>8}{sum(bool(line.violations) for line in held):>12}"
            f"{sum(not line.touched for line in held):>6}"
        )
    return "\n".join(rows)


def violations(lines: Iterable[Line], most: int = 6) -> str:
    """Violations by kind and place, each with names that `--only` takes."""
    groups: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        for what in line.violations:
            groups[what, " + ".join(line.fields) if len(line.fields) == 1 else "pairs"].append(line)
    told = []
    totals: Counter[str] = Counter()
    for (what, _), held in groups.items():
        totals[what] += len(held)
    for what, _ in totals.most_common():
        told.append(f"\n== {what}: {totals[what]}")
        for (name, place), held in sorted(groups.items(), key=lambda pair: -len(pair[1])):
            if name == what:
                told.append(f"  {place}: {len(held)}")
                told += [f"      {line.name}\n          {line.detail}" for line in held[:most]]
    return "\n".join(told)
