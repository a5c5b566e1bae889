"""Test that the benchmark runs, with a size at which its figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.parametrize(
    "cases",
    [["A"], ["B"], ["C"], ["D", "read", "export", "enqueue", "list"], ["E"], ["scale"], ["fair"], ["webhook"]],
    ids=" ".join,
)
def test_tiny_benchmark_prints_all_figures(cases, tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--repeat", "1", "--no-charts", "--out", tmp_path]
    done = subprocess.run(
        [*command, "--case", *cases], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "figures.json").read_text())
    assert set(found["figures"]) == set(cases)
    assert all(row["measured"] is not None for row in found["rows"])


@pytest.mark.long
def test_script_costs_are_reported():
    command = [sys.executable, "-m", "benchmarks.scripts", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "calls a job" in done.stdout
