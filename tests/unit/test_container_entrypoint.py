"""Test the commands of the image: the entry point, the health check, Flower's settings."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from dockerfile import ROOT


def run(script, *arguments, **environment):
    return subprocess.run(
        [sys.executable, ROOT / script, *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


SHOW = [sys.executable, "-c", "import os; print(os.environ['SCRAPE_DO_API_KEY'], os.getpid())"]


def test_secret_file_wins_and_the_command_replaces_the_process(tmp_path):
    (tmp_path / "scrape_do_api_key").write_text("from-a-file\n")
    entry = subprocess.Popen(
        [sys.executable, ROOT / "worker" / "entrypoint.py", *SHOW],
        env={"SECRETS_DIR": str(tmp_path), "SCRAPE_DO_API_KEY": "sandbox"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert entry.communicate(timeout=30)[0].split() == ["from-a-file", str(entry.pid)]
    without = run("worker/entrypoint.py", *SHOW, SECRETS_DIR=str(tmp_path / "none"), SCRAPE_DO_API_KEY="given")
    assert without.stdout.split()[0] == "given"


def test_a_secret_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "scrape_do_api_key").write_bytes(b"\xff\xfe")
    done = run("worker/entrypoint.py", *SHOW, SECRETS_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "scrape_do_api_key" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("given", ["user", "user:", ":password", "a:b,c"])
def test_flower_does_not_start_with_half_a_password(given):
    done = run("config/flowerconfig.py", FLOWER_BASIC_AUTH=given)
    assert done.returncode == 1
    assert "must be user:password" in done.stderr


def test_flower_users_are_passed_and_not_printed():
    code = "import runpy; print(runpy.run_path('config/flowerconfig.py')['basic_auth'])"
    env = {"FLOWER_BASIC_AUTH": "a:b,c:d"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "['a:b', 'c:d']\n"
