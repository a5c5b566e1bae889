"""Run several labs side by side, each in a process with its own servers and workers: one works while another waits."""

from __future__ import annotations

import ctypes
import json
import signal
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.report import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEATH_SIGNAL = 1
_ROOT = Path(__file__).parents[2]


def run_parallel(count: int, trials: int, seed: str, arguments: Sequence[str]) -> Report:
    """Return the joint report of `count` labs. Each lab's seed is this seed with a letter appended.

    Raises:
        RuntimeError: a lab ended without a report.
    """
    webhooks = arguments[arguments.index("--webhooks") + 1] if "--webhooks" in arguments else ""
    began, report = time.monotonic(), Report(webhooks)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        files = [Path(folder) / f"{letter}.json" for letter in string.ascii_lowercase[:count]]
        running = [
            subprocess.Popen(_command(-(-trials // count), seed + file.stem, file, arguments), cwd=_ROOT)
            for file in files
        ]
        try:
            for harness in running:
                harness.wait()
        finally:
            _terminate(running)
        for file in files:
            if not file.exists():
                raise RuntimeError(f"lab {seed}{file.stem} ended without a report")
            report.merge(json.loads(file.read_text()))
    report.seconds = time.monotonic() - began
    return report


def end_with_parent() -> None:
    """End this lab's process if its parent has ended."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def _command(trials: int, seed: str, file: Path, arguments: Sequence[str]) -> list[str]:
    own = ["--trials", str(trials), "--seed", seed, "--json", str(file), "--quiet"]
    return [sys.executable, "-m", "tests.faults", *own, *arguments]


def _terminate(running: list[subprocess.Popen[bytes]]) -> None:
    """End the labs and their child processes, also if this process ends by an error."""
    for harness in running:
        if harness.poll() is None:
            harness.send_signal(signal.SIGTERM)
    for harness in running:
        try:
            harness.wait(30)
        except subprocess.TimeoutExpired:
            harness.kill()
            harness.wait()
