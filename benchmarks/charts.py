"""Charts of the measured figures, as PNG and SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.case_d import CLAIM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

_COLOURS = {"floor": "#8a8f98", "canvas": "#d1803f", "blocking": "#b55d5d", "ours": "#2f6f8f"}
_WIDE, _HIGH = 8.0, 4.0
_STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "benchmarks",
    "svg.fonttype": "none",
}


def draw(folder: Path, figures: dict[str, Any]) -> list[Path]:
    """Draw a chart for each case that has one, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    charts: dict[str, Callable[[Any, dict[str, Any], str], None]] = {
        "A": _contenders,
        "B": _contenders,
        "C": _waiting,
        "D": _claims,
        "E": _delays,
        "scale": _scale,
    }
    files: list[Path] = []
    with mpl.rc_context(_STYLE):
        for case, chart in charts.items():
            if case not in figures:
                continue
            figure, axes = plt.subplots(1, 2 if case == "scale" else 1, figsize=(_WIDE, _HIGH))
            chart(axes, figures[case], case)
            figure.tight_layout()
            for kind in ("png", "svg"):
                files.append(folder / f"{case.lower()}.{kind}")
                figure.savefig(files[-1], dpi=120, metadata={"Date": None} if kind == "svg" else None)
            plt.close(figure)
    return files


def _contenders(axes: Axes, found: dict[str, Any], case: str) -> None:
    """Draw the medians as bars; the bar of a contender that timed out ends at the time limit."""
    medians = found["medians"]
    for place, (name, seconds) in enumerate(medians.items()):
        shown = found["blocking_limit"] if seconds is None else seconds
        axes.barh(place, shown, color=_COLOURS[name], hatch="//" if seconds is None else None)
        text = f" over {shown:g} s" if seconds is None else f" {shown:.2f} s ({shown / medians['floor']:.1f} x)"
        axes.text(shown, place, text, va="center")
    axes.set_yticks(range(len(medians)), list(medians))
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_xlabel("seconds, median")
    axes.set_title(f"Case {case}: from the first submit to the last result")


def _waiting(axes: Axes, found: dict[str, Any], _: str) -> None:
    """Draw the requests in each interval of the hold."""
    requests = found["requests"]
    axes.bar(range(1, len(requests) + 1), requests, color=_COLOURS["ours"])
    axes.set_xlabel("interval of 30 s")
    axes.set_ylabel("API requests")
    cpu = f"CPU beyond bare workers {found['cpu_beyond']:.1f} % of a core"
    axes.set_title(f"Case C: requests while all wait ({cpu})")


def _claims(axes: Axes, found: dict[str, Any], _: str) -> None:
    """Draw the spread of claims, by the number of due entries."""
    claims = found["claims_ms"]
    axes.boxplot(list(claims.values()), tick_labels=[f"{due} due" for due in claims])
    axes.axhline(CLAIM, color=_COLOURS["canvas"], label="limit")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("ms a claim")
    axes.legend()
    axes.set_title(f"Case D: the dispatcher's claim ({found['bytes_a_run']:.0f} B of Redis a run)")


def _delays(axes: Axes, found: dict[str, Any], _: str) -> None:
    """Draw each job's delay over the interval that was in force."""
    samples = found["samples"]
    intervals = [sample["interval"] for sample in samples]
    axes.scatter(intervals, [sample["delay"] for sample in samples], color=_COLOURS["ours"], alpha=0.7)
    reach = [0.0, max(intervals)]
    axes.plot(reach, reach, ":", color="black", alpha=0.5, label="the interval")
    axes.plot(reach, [at / 2 + 0.25 for at in reach], color=_COLOURS["canvas"], label="limit of the median")
    axes.set_xlabel("interval in force, s")
    axes.set_ylabel("from the job's end to its result, s")
    axes.legend()
    axes.set_title("Case E: how late a result is")


def _scale(axes: list[Axes], found: dict[str, Any], _: str) -> None:
    """Draw seconds over size, with a proportional line, and the CPU of each job or target as text."""
    for one, (what, points) in zip(axes, found.items(), strict=True):
        numbers = [point["number"] for point in points]
        one.plot(numbers, [point["seconds"] for point in points], "o-", color=_COLOURS["ours"], label="ours")
        one.plot(numbers, [point["floor"] for point in points], "s-", color=_COLOURS["floor"], label="floor")
        straight = [points[-1]["seconds"] * number / numbers[-1] for number in numbers]
        one.plot(numbers, straight, ":", color="black", alpha=0.5, label="linear")
        for point in points:
            one.annotate(
                f"{point['cpu_ms']:.1f} ms", (point["number"], point["seconds"]), (4, -12), textcoords="offset points"
            )
        one.set_xscale("log", base=2)
        one.set_xticks(numbers, [f"{number:,}" for number in numbers])
        one.set_yscale("log", base=2)
        one.yaxis.set_major_formatter("{x:g}")
        one.margins(x=0.2)
        one.set_xlabel(what)
        one.set_ylabel("seconds (beside: CPU of each)")
        one.legend()
        one.set_title(f"Case {'A' if what == 'jobs' else 'B'} with more {what}")
