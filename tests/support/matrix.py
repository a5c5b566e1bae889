"""Play tests with each Python and each Django that the package supports and this machine has: `make matrix`.

The classifiers of pyproject.toml name the versions. A Python is looked for as `python3.x` on the PATH, and among the
versions of pyenv. `python tests/support/matrix.py 3.12` plays this Python only. If the machine lacks a version, a line
says so, and that is no failure. `--others` leaves out the Python that plays this file: CI plays all tests with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".venv-matrix"
CONSTRAINTS = ("-c", str(ROOT / "constraints.txt"))
EXTRAS = "embedded,cli,encryption,metrics,otel"
TOOLS = (
    *("fakeredis[lua]", "gevent", "hypothesis", "pytest", "pytest-timeout", "pytest-xdist", "trustme"),
    *("django-celery-beat", "opentelemetry-instrumentation-httpx", "opentelemetry-sdk", "scrape-do-python"),
)
#: Tests of everything that differs between versions of Python, and whole runs with real workers.
TESTS = (
    *("tests/unit/client", "tests/unit/models", "tests/unit/rules", "tests/unit/store"),
    *("tests/acceptance/test_main_job.py", "tests/acceptance/test_canvas.py"),
)
DJANGO_TESTS = ("tests/acceptance/test_django.py",)


def classified(kind):
    """Return the versions that the classifiers of the package name, the oldest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [re.fullmatch(rf"{kind} :: (\d+)\.(\d+)", one) for one in project["classifiers"]]
    return [f"{major}.{minor}" for major, minor in sorted((int(one[1]), int(one[2])) for one in found if one)]


def find_python(version):
    """Return an interpreter of this version that can make environments, or None."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(name), *sorted(pyenv.glob(f"{version}*/bin/{name}"), reverse=True)]
    check = f"import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for candidate in filter(None, candidates):
        # A shim of pyenv is on the PATH even if its version is not chosen.
        if subprocess.run([candidate, "-c", check], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    return None


def make_environment(version, python):
    """Return the interpreter of an environment with the package as a wheel, and with what its tests need."""
    folder = ENVIRONMENTS / version
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    own = folder / "bin" / "python"
    pip = [own, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *CONSTRAINTS]
    subprocess.run([*pip, f"{ROOT}[{EXTRAS}]", *TOOLS], check=True)
    return own


def play(python, tests, jobs, **environment):
    """Return whether tests pass with an interpreter."""
    # The first test of the example installs its environment, which counts as a part of the test.
    command = [python, "-m", "pytest", "-q", "-n", str(jobs), "--dist", "worksteal", "--timeout", "900", *tests]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode == 0


def play_python(version, jobs):
    """Play the tests of one Python. Return its result in words."""
    python = find_python(version)
    if python is None:
        return "not on this machine"
    return "passed" if play(make_environment(version, python), TESTS, jobs) else "FAILED"


def play_django(version, python):
    """Play the example for Django in an environment of its own. Return its result in words."""
    given = {"EXAMPLES_PYTHON": python, "EXAMPLES_DJANGO": version}
    return "passed" if play(sys.executable, DJANGO_TESTS, 2, **given) else "FAILED"


def main(wanted, jobs=2):
    """Play all versions, or those that are wanted. Print a line for each. Return 1 after a failure."""
    supported = classified("Programming Language :: Python")
    if wanted == ["--others"]:
        wanted = [version for version in supported if version != f"{sys.version_info.major}.{sys.version_info.minor}"]
    versions = wanted or supported
    results = {}
    for version in versions:
        begun = time.monotonic()
        result = play_python(version, jobs)
        results[f"Python {version}"] = f"{result} ({time.monotonic() - begun:.0f} s)"
    # The newest Django needs a newer Python than the oldest one that the package supports.
    newest = [python for version in versions if (python := find_python(version))][-1:]
    for version in classified("Framework :: Django") if newest else ():
        results[f"Django {version}"] = f"{play_django(version, newest[0])} on {Path(newest[0]).name}"
    print("\n".join(f"{name}: {result}" for name, result in results.items()))
    passed = sum("passed" in result for result in results.values())
    failed = sum("FAILED" in result for result in results.values())
    print(f"{passed} passed, {failed} failed, {len(results) - passed - failed} skipped")
    return failed > 0 or not passed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
