"""Environments with this package as a wheel, as users have it. Nothing there leads to the checkout."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Another Python for the examples, with the newest versions of all their packages; see `make newest`.
NEWEST = os.environ.get("EXAMPLES_PYTHON")


def install_wheel(folder, extras="", *packages):
    """Return the interpreter of a new environment in this folder, with the wheel and these packages."""
    versions = [] if NEWEST else ["-c", ROOT / "constraints.txt"]
    folder.mkdir(exist_ok=True)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    subprocess.run([NEWEST or sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    python = folder / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *versions]
    subprocess.run([*pip, f"{wheel}[{extras}]" if extras else wheel, *packages], check=True, capture_output=True)
    return python


def install_once(folder, extras, *packages):
    """Install as `install_wheel` does, in the first of several processes. The others wait."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "done"
        if not done.exists():
            install_wheel(folder, extras, *packages)
            done.touch()
    return folder / "venv" / "bin" / "python"
