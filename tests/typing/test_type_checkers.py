"""Test that mypy, pyright and ty take each good call and refuse each bad one, in a project that uses the package."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import scrape_do_celery

SOURCE = Path(scrape_do_celery.__file__).parents[1]
FILES = ("good_calls.py", "bad_calls.py")
#: The first line of an error in the texts of all three checkers.
ERROR = re.compile(r"(\w+\.py):(\d+)(?::\d+)?(?::| -) error")
PYTHON = Path(sys.executable)


def run_mypy(project: Path) -> list[str]:
    return [str(PYTHON), "-m", "mypy", "--strict", "--cache-dir", str(project / "cache"), *FILES]


def run_pyright(project: Path) -> list[str]:
    config = {"include": list(FILES), "extraPaths": [str(SOURCE)], "typeCheckingMode": "standard"}
    (project / "pyrightconfig.json").write_text(json.dumps(config))
    return [str(PYTHON), "-m", "pyright", "--pythonpath", str(PYTHON), "-p", str(project)]


def run_ty(project: Path) -> list[str]:
    search = ["--python", sys.prefix, "--extra-search-path", str(SOURCE), "--project", str(project)]
    return [str(PYTHON), "-m", "ty", "check", *search, "--output-format", "concise", *FILES]


def errors_of(command: list[str], project: Path) -> dict[str, set[int]]:
    """Return the lines that a checker refuses, by file."""
    # The checkers must not look for newer versions of themselves.
    env = os.environ | {"MYPYPATH": str(SOURCE), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    found: dict[str, set[int]] = {name: set() for name in FILES}
    for name, line in ERROR.findall(done.stdout):
        found[name].add(int(line))
    assert done.returncode == 1, done.stdout + done.stderr
    return found


def called_lines(text: str) -> set[int]:
    """Return the lines of the statements in functions."""
    functions = [one for one in ast.parse(text).body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {statement.lineno for one in functions for statement in one.body}


@pytest.mark.parametrize(
    "command",
    [pytest.param(run_mypy, marks=pytest.mark.long), pytest.param(run_pyright, marks=pytest.mark.long), run_ty],
    ids=["mypy", "pyright", "ty"],
)
def test_good_calls_are_taken_and_each_bad_call_is_refused(
    command: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    for name in FILES:
        shutil.copy(Path(__file__).parent / name, tmp_path)
    expected = called_lines((tmp_path / "bad_calls.py").read_text())
    assert len(expected) > 70
    assert errors_of(command(tmp_path), tmp_path) == {"good_calls.py": set(), "bad_calls.py": expected}
