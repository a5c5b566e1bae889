"""Check worker/Dockerfile and .dockerignore as texts, and the wheels for what they install."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import dockerfile
import pytest
from dockerfile import ROOT

BIN = Path(sys.executable).parent


def test_the_dockerfile_is_linted(tmp_path):
    def lint(path):
        return subprocess.run([BIN / "hadolint", path], capture_output=True, text=True, check=False)

    done = lint(dockerfile.FILE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(dockerfile.FILE.read_text().replace(" --constraint constraints.txt uv", " uv"))
    assert "DL3013" in lint(wrong).stdout


@pytest.mark.parametrize("target", ["app", "demo", "django"])
def test_images_are_slim_unprivileged_and_without_secrets(target):
    stages = dockerfile.read()
    stack = dockerfile.chain(stages, target)
    base = stack[0]
    assert re.fullmatch(r"python:\$\{PYTHON_VERSION\}-slim-\w+", base.base)
    users = [text for stage in stack for kind, text in stage.steps if kind == "USER"]
    assert users
    assert all(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) for user in users)
    # The final image installs nothing: its packages come from a build stage.
    assert [kind for stage in stack[1:] for kind, _ in stage.steps if kind == "RUN"] == []
    texts = [text for stage in stages.values() for kind, text in stage.steps if kind in ("ENV", "ARG", "LABEL")]
    assert not re.search(r"KEY|TOKEN|PASSWORD|SECRET|AUTH", " ".join(texts), re.IGNORECASE)


def test_only_wheels_are_installed_and_all_of_them_pinned():
    for stage in dockerfile.read().values():
        for kind, text in stage.steps:
            for command in re.findall(r"(?:uv )?pip install [^&]*", text) if kind == "RUN" else ():
                assert "constraint" in command, command
                assert "--only-binary :all:" in command or command.endswith(
                    "--no-deps --build-constraints constraints.txt ."
                ), command


@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28"])
def test_there_are_wheels_for_the_interpreter_of_the_image(platform, tmp_path):
    [version] = re.findall(r"(?m)^ARG PYTHON_VERSION=(.+)$", dockerfile.FILE.read_text())
    command = [BIN / "uv", "pip", "install", "--dry-run", "--quiet", "--target", tmp_path, "--only-binary", ":all:"]
    command += ["--python-version", version, "--python-platform", platform, "--constraint", "constraints.txt"]
    command += ["--requirements", "pyproject.toml", "--extra", "cli", "--extra", "flower", "django", "gunicorn"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_secret_and_nothing_made_here_reaches_a_build(tmp_path):
    tree = tmp_path / "tree"
    for name in ("config", "worker", "tasks", "examples"):
        shutil.copytree(ROOT / name, tree / name)
    planted = [".env", ".env.prod", "config/.env", "secrets/scrape_do_api_key", "config/secrets/token", ".git/config"]
    planted += ["examples/django/.env.local", "examples/django/db.sqlite3", "tests/x.py", "worker/__pycache__/x.pyc"]
    for name in planted:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("x")
    sent = dockerfile.sent(tree)
    assert sent & set(planted) == set()
    assert {"config/settings.py", "worker/entrypoint.py", "examples/django/manage.py"} <= sent
    assert {name.split("/")[1] for name in sent if name.startswith("examples/")} == {"__init__.py", "demo", "django"}
