"""Test a small soak of budgets, in a process of its own. `python -m tests.budgets` plays a large one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.long
def test_budgets_hold_while_processes_and_the_store_are_killed():
    options = ["--processes", "8", "--reservations", "500", "--seed", os.environ.get("FAULTS_SEED", "1")]
    soak = subprocess.run(
        [sys.executable, "-m", "tests.budgets", *options], capture_output=True, text=True, check=False
    )
    assert soak.returncode == 0, soak.stdout + soak.stderr
