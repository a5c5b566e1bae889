"""The measured values against their limits: rows, a table, a file."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_MEGA, _KILO = 1e6, 1e3


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. Without a limit, the value is reported but not judged."""

    case: str
    what: str
    measured: float | None
    unit: str = ""
    limit: float | None = None
    #: Whether the limit is a minimum; otherwise it is a maximum.
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None without a limit or a measured value."""
        if self.limit is None or self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def cells(self) -> tuple[str, ...]:
        """Return the cells: case, what, measured, limit, met."""
        sign = "" if self.limit is None else ">= " if self.at_least else "<= "
        limit = "" if self.limit is None else sign + number(self.limit, self.unit)
        measured = "skipped" if self.measured is None else number(self.measured, self.unit)
        verdict = {None: "", True: "met", False: "NOT MET"}[self.met]
        return self.case, self.what + (f" ({self.note})" if self.note else ""), measured, limit, verdict


@dataclass(slots=True)
class Outcome:
    """The result of one case: rows for the table, figures for the file and the charts."""

    rows: list[Row] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def number(value: float, unit: str) -> str:
    """Format a number for people; `B` becomes kB or MB."""
    if unit == "B" and abs(value) >= _MEGA:
        return f"{value / _MEGA:,.1f} MB"
    if unit == "B" and abs(value) >= _KILO:
        return f"{value / _KILO:,.1f} kB"
    digits = 0 if float(value).is_integer() else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3  # noqa: PLR2004
    return f"{value:,.{digits}f} {unit}".rstrip()


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    rows = [tuple(head), *(tuple(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows
    )


def rows_table(rows: Iterable[Row]) -> str:
    """Return the table of all rows, with limits and measured values."""
    return table(("case", "what", "measured", "limit", ""), (row.cells() for row in rows))


def ratios_table(figures: dict[str, Any]) -> str:
    """Return the table of floor, canvas and this package side by side, or an empty text without A and B."""
    lines = []
    for case in ("A", "B"):
        if case not in figures:
            continue
        medians: dict[str, float | None] = figures[case]["medians"]
        floor, canvas = medians["floor"] or 1.0, medians["canvas"]
        for name, seconds in medians.items():
            if seconds is None:
                lines.append((case, name, f"over {figures[case]['blocking_limit']:g} s", "", ""))
            else:
                beside = f"{canvas / seconds:.1f} x as fast" if canvas and name == "ours" else ""
                lines.append((case, name, f"{seconds:.2f} s", f"{seconds / floor:.2f}", beside))
    return table(("case", "contender", "median", "over the floor", "beside the canvas"), lines) if lines else ""


def write(folder: Path, options: dict[str, Any], rows: Sequence[Row], figures: dict[str, Any]) -> Path:
    """Write all figures as JSON and the tables as Markdown; return the file with the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "options": options,
        "rows": [asdict(row) | {"met": row.met} for row in rows],
        "figures": figures,
    }
    file = folder / "figures.json"
    file.write_text(json.dumps(data, indent=1) + "\n")
    (folder / "tables.md").write_text(f"{ratios_table(figures)}\n\n{rows_table(rows)}\n")
    return file
