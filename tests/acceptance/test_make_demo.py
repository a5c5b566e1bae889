"""Test `make demo` through make: its environment, its first output, and its calls of Python."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
#: The part of a checkout that `make demo` reads.
CHECKOUT = [
    "Makefile",
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "LICENSE",
    "src",
    "examples",
    "worker",
    "tasks",
]
# The build reads a script in docs.
CHECKOUT += ["config", "docs"]
OWN = {"config", "examples", "scrape_do_celery", "scrape_do_sandbox", "tasks", "worker"}
#: A stand-in for Python: it copies itself as the environment's interpreter, and prints its arguments.
STUB = """#!/bin/sh
case "$*" in
    *version_info*) exit {old} ;;
    *ensurepip*) exit {bare} ;;
    --version) echo "Python 3.10.13" ;;
    "-m venv"*) echo "[$*]"; mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    *) echo "[$*]" ;;
esac
"""


def environment(**more):
    """Return the test's own environment, without variables that change make, pip or the demo."""
    kept = {name: value for name, value in os.environ.items() if not re.match("SCRAPE_DO_|MAKE|MFLAGS|PYTHON", name)}
    return {**kept, "URLS": "", "LIVE": "", **more}


def make(folder, *arguments, **more):
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(**more), capture_output=True, text=True, check=False)


def closure(*requirements):
    """Return the names of all distributions that these requirements need on this machine."""
    todo, found = [Requirement(text) for text in requirements], set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in found:
                found.add((name, extra))
                wanted = [Requirement(text) for text in requires(name) or ()]
                todo += [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def dev_only(needed):
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines} - needed


@pytest.fixture(scope="module")
def needed():
    return closure("scrape-do-celery[embedded,cli]")


@pytest.fixture
def checkout(tmp_path):
    """Return a folder in which make runs with a stub in place of Python."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)

    def write(*, old=0, bare=0):
        (tmp_path / "stub").write_text(STUB.format(old=old, bare=bare))
        (tmp_path / "stub").chmod(0o755)
        return tmp_path

    return write


def test_a_dry_run_installs_the_package_and_nothing_for_development():
    done = make(ROOT, "--always-make", "--dry-run", "demo")
    [line] = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert line.startswith(".venv-demo/bin/python -m pip install ")
    assert line.endswith(" -c constraints.txt -e '.[embedded,cli]'")
    assert "requirements-dev" not in done.stdout
    assert ".venv/" not in done.stdout


def test_each_slow_step_is_named_before_it_begins_and_runs_once(checkout):
    folder = checkout()
    said = make(folder, "demo", "PYTHON=./stub").stdout
    order = ["Making an environment", "[-m venv", "Downloading about", "[-m pip install", "[-m examples.demo]"]
    assert [mark for line in said.splitlines() for mark in order if line.startswith(mark)] == order
    assert make(folder, "demo", "PYTHON=./stub").stdout == "[-m examples.demo]\n"
    (folder / ".venv").mkdir()
    make(folder, "clean")
    assert list(folder.glob(".venv*")) == []


def test_a_development_environment_is_not_used_by_the_demo(checkout):
    folder = checkout()
    (folder / ".venv").mkdir()
    (folder / ".venv" / ".ready").touch()
    assert "[-m venv --clear .venv-demo]" in make(folder, "demo", "PYTHON=./stub").stdout


@pytest.mark.parametrize(
    ("faults", "texts"),
    [
        ({"old": 1}, ["needs Python 3.11 or newer", "says: Python 3.10.13", "make demo PYTHON=python3"]),
        ({"bare": 1}, ["cannot make environments: its module venv or ensurepip is missing"]),
    ],
)
def test_a_python_that_will_not_do_is_refused_with_advice(checkout, faults, texts):
    folder = checkout(**faults)
    done = make(folder, "demo", "PYTHON=./stub")
    assert done.returncode == 2
    assert [text for text in texts if text not in done.stderr] == []
    assert list(folder.glob(".venv*")) == []


def test_a_python_without_ensurepip_names_the_package_of_debian(tmp_path, checkout):
    folder = checkout()
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "ensurepip.py").write_text("raise ImportError\n")
    (folder / "bare").write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/without exec {sys.executable} "$@"\n')
    (folder / "bare").chmod(0o755)
    said = make(folder, "demo", "PYTHON=./bare").stderr
    assert "sudo apt install python{}.{}-venv".format(*sys.version_info) in said


def test_the_demo_imports_only_the_packages_of_its_environment(needed):
    files = [path for name in ("examples/demo", "config", "tasks", "worker") for path in (ROOT / name).rglob("*.py")]
    imported = {name.partition(".")[0] for path in files for name in imports(ast.parse(path.read_text()))}
    assert {"celery", "redis"} < imported
    packages = packages_distributions()
    foreign = imported - OWN - sys.stdlib_module_names
    assert {name for name in foreign if not needed & {canonicalize_name(one) for one in packages[name]}} == set()


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


class Watched:
    """A run of make, with the second in which each line arrived."""

    def __init__(self, folder, *arguments, **more):
        self.began = time.monotonic()
        self.lines = []
        self.process = subprocess.Popen(
            ["make", *arguments],
            cwd=folder,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def said(self):
        return "".join(line for _, line in self.lines)

    def read(self, until=None):
        for line in self.process.stdout:
            self.lines.append((time.monotonic() - self.began, line))
            if until and until in line:
                return
        self.process.wait()

    def second(self, text):
        return next(second for second, line in self.lines if text in line)


@pytest.fixture
def watched():
    started = []

    def start(*arguments, **more):
        started.append(Watched(*arguments, **more))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGTERM)
        one.process.communicate()


def test_ctrl_c_in_make_leaves_no_process(watched):
    # Use the environment of the tests in place of the demo's. A terminal sends Ctrl-C to the whole group.
    run = watched(ROOT, f"--old-file={sys.prefix}/.ready", "demo", f"DEMO={sys.prefix}", PYTHONPATH=str(ROOT / "src"))
    run.read(until="job bought")
    parts = [int(pid) for pid in re.findall(r"pid (\d+)", run.said)]
    assert len(parts) == 3
    os.killpg(run.process.pid, signal.SIGINT)
    run.read()
    assert run.process.returncode != 0
    assert "All that the demo started has been stopped." in run.said
    groups = {str(pid) for pid in (run.process.pid, *parts)}
    listing = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    assert [row for row in rows if groups & set(row[:2]) and not row[2].startswith("Z")] == []


@pytest.mark.long
def test_clean_copy_shows_its_results(tmp_path, needed, watched):
    for name in CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    run = watched(tmp_path, "demo", f"PYTHON={sys.executable}", PIP_NO_CACHE_DIR="1")
    run.read()
    assert run.process.returncode == 0, run.said
    assert run.second("Making an environment") < run.second("Downloading about")
    assert run.second("Downloading about") < run.second("Loading Celery") < run.second("submitted 6 targets")
    assert run.second("submitted 6 targets") < run.second("tasks  6 succeeded, 0 failed")

    listing = [tmp_path / ".venv-demo" / "bin" / "python", "-m", "pip", "list", "--format=freeze"]
    frozen = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
    installed = {canonicalize_name(line.partition("==")[0]) for line in frozen}
    assert installed - needed <= {"pip", "setuptools"}
    assert installed & dev_only(needed) == set()

    again = watched(tmp_path, "demo", f"PYTHON={sys.executable}")
    again.read()
    assert again.process.returncode == 0, again.said
    assert again.lines[0][1] == "Loading Celery and the package ...\n"
    make(tmp_path, "clean")
    assert not (tmp_path / ".venv-demo").exists()
