"""Exporting: the memory of an export in each format, for many pages of 1 MB beside a tenth of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.measure import peak_rss
from benchmarks.pages import urls
from benchmarks.report import Outcome, Row
from scrape_do_celery import RunHandle
from scrape_do_celery.export.formats import FORMATS

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.ours import Ours

_PAGE, _FLAT = 1_000_000, 1.25
#: The large run has this number of times the pages of the small one.
_FACTOR = 10


def play(bench: Bench) -> Outcome:
    """Export two runs in each format, each in a separate process, while no worker runs."""
    count, folder = bench.sizes.export_pages, bench.new_folder()
    with bench.ours() as ours:
        with ours.working():
            _, (small, large) = ours.timed([urls(pages, _PAGE) for pages in (count // _FACTOR, count)])
        names = [name for name, form in FORMATS.items() if form.package is None or find_spec(form.package[0])]
        figures = {
            name: {run.run_id: _export(ours, name, run.run_id, folder) for run in (small, large)} for name in names
        }
    rows = []
    for name in names:
        least, most = figures[name][small.run_id], figures[name][large.run_id]
        rows += [
            Row(
                "export",
                f"{name}, memory beside {count // _FACTOR} pages",
                most["growth"] / least["growth"],
                "x",
                _FLAT,
            ),
            Row("export", f"{name}, memory over start, {count} pages of 1 MB", most["growth"], "B"),
            Row("export", f"{name}, largest memory of the process", most["peak"], "B"),
            Row("export", f"{name}, speed", count * _PAGE / most["seconds"] / 1e6, "MB/s"),
        ]
    return Outcome(rows, {name: list(found.values()) for name, found in figures.items()})


def _export(ours: Ours, form: str, run_id: str, folder: Path) -> dict[str, float]:
    """Return `seconds`, `rows`, the `peak` of the process's memory and its `growth` since its start."""
    to = folder / form
    command = [sys.executable, "-m", "benchmarks.case_export", form, run_id, str(to)]
    environment = {**os.environ, **ours.environment}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode:
        raise RuntimeError(f"the export failed: {answer.stderr[-2_000:]}")
    shutil.rmtree(to)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def _main(form: Any, run_id: str, to: str) -> None:
    handle = RunHandle(run_id)
    handle.progress  # noqa: B018 (connects, so that only the export is measured)
    start_rss, start = psutil.Process().memory_info().rss, time.perf_counter()
    # A file in a folder: the format `files` has no single file.
    report = handle.export(f"{to}/" if FORMATS[form].is_folder else Path(to) / "pages", format=form)
    seconds, peak = time.perf_counter() - start, peak_rss(os.getpid())
    json.dump({"seconds": seconds, "rows": report.rows, "peak": peak, "growth": peak - start_rss}, sys.stdout)


if __name__ == "__main__":
    _main(*sys.argv[1:])
