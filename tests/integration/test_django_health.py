"""Test the checks for django-health-check by the pages of the guide, with real servers as the store."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "how-to" / "django.md"
STORE, WORKER, ACCOUNT = NAMES = [f"ScrapeDo{one}()" for one in ("Store", "Worker", "Account")]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Return what the pages said. Django is set up once for a process, so the visits are in another one."""
    folder = tmp_path_factory.mktemp("health")
    (code,) = re.findall(r"<!-- code: health -->\n```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    urls = folder / "urls.py"
    urls.write_text(code)
    script = ROOT / "tests" / "support" / "django_health_pages.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPE_DO_")}
    done = subprocess.run(
        [sys.executable, script, folder, urls], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def faults(answers):
    """Return the messages of the checks that failed. The others say OK."""
    assert sorted(answers) == sorted(NAMES)
    return {name: text for name, text in answers.items() if text != "OK"}


@pytest.mark.parametrize("state", ["healthy", "just started"])
def test_a_store_with_a_worker_and_a_new_server_are_healthy(seen, state):
    assert seen[state] == [200, 200, dict.fromkeys(NAMES, "OK")]


def test_a_check_leaves_nothing_in_the_store(seen):
    assert seen["keys"] == []


@pytest.mark.parametrize(
    ("state", "name", "told"),
    [
        ("no worker", WORKER, "no worker has served the store"),
        ("refused", ACCOUNT, "the API refuses the token since"),
        ("nearly full", STORE, r"uses 9\d % of its memory limit: no job is bought"),
        ("full", STORE, r"refuses the check \(OOM\)"),
        ("replica", STORE, r"refuses the check \(READONLY\)"),
    ],
)
def test_one_fault_fails_one_check(seen, state, name, told):
    of_store, of_scrapes, answers = seen[state]
    assert (of_store, of_scrapes) == ((500, 200) if name == STORE else (200, 500))
    assert list(faults(answers)) == [name]
    assert re.search(told, answers[name])


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("silent", "the store does not answer"),
        ("down", "the store does not answer"),
        ("no right", "refuses the check (NoPermissionError)"),
        ("wrong settings", "the settings of Scrape.do are wrong"),
    ],
)
def test_a_store_that_cannot_be_asked_fails_each_check(seen, state, told):
    *_, answers = seen[state]
    assert [told in text for text in faults(answers).values()] == [True] * 3


def test_no_password_is_in_messages_and_logs(seen):
    assert seen["leaks"] is False
    assert seen["log"] == [False, True]


def test_the_readiness_probe_asks_for_a_page_of_the_guide():
    (text,) = re.findall(r"```yaml\n(livenessProbe.*?)```", (ROOT / "docs/how-to/kubernetes.md").read_text(), re.DOTALL)
    probe = yaml.safe_load(text)["readinessProbe"]
    assert f'path("{probe["httpGet"]["path"].lstrip("/")}"' in GUIDE.read_text()
    # A store that hangs holds a page for two seconds.
    assert probe["timeoutSeconds"] > 2


def test_the_page_for_people_names_the_checks(seen):
    assert seen["page"]
