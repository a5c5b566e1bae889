"""Environments with this package as a wheel, as users have it. Nothing there leads to the checkout."""

from __future__ import annotations

import fcntl
import os
import site
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Another Python for the examples, with the newest versions of all their packages; see `make newest`.
NEWEST = os.environ.get("EXAMPLES_PYTHON")
#: A version of Django for the examples, such as `5.2`; see `make matrix`.
DJANGO = os.environ.get("EXAMPLES_DJANGO")
#: A wheel that was built before; see `make dist`.
BUILT = os.environ.get("BUILT_WHEEL")


def build_wheel(folder, source=ROOT):
    """Return the wheel of a tree of this repository, built in this folder without a download."""
    folder.mkdir(exist_ok=True)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def install_beside(folder, wheel):
    """Return the interpreter of an environment with this wheel alone. It sees the packages of these tests below."""
    # `--without-pip` and the pip of these tests: nothing is downloaded, and nothing is built.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    (own,) = folder.glob("lib/python3*/site-packages")
    # Behind the wheel, so that no editable installation of a checkout is found first.
    (own / "packages_of_the_tests.pth").write_text("\n".join(site.getsitepackages()))
    return python


def install_wheel(folder, extras="", *packages):
    """Return the interpreter of a new environment in this folder, with the wheel and these packages."""
    versions = [] if NEWEST else ["-c", ROOT / "constraints.txt"]
    wheel = Path(BUILT) if BUILT else build_wheel(folder)
    folder.mkdir(exist_ok=True)
    subprocess.run([NEWEST or sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    python = folder / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *versions]
    wanted = [f"django~={DJANGO}.0"] if DJANGO and "django" in extras else []
    subprocess.run(
        [*pip, f"{wheel}[{extras}]" if extras else wheel, *wanted, *packages], check=True, capture_output=True
    )
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
