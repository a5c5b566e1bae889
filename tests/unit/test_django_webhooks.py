"""Test the views of webhooks in a Django project with login, HTTPS, CSRF, hosts and transactions; and their check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seen():
    """Return what the calls did. Django is set up once for a process, so the calls are in another one."""
    script = ROOT / "tests" / "support" / "django_webhook_calls.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPE_DO_")}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=["call_sync", "call_async", "call_sync_on_asgi"])
def calls(request, seen):
    return seen[request.param]


def test_deliveries_pass_login_csrf_transactions_and_limits_of_bodies(calls):
    assert [calls[name] for name in ("page", "slash", "large", "hint")] == [200] * 4
    assert (calls["stored"], calls["hints"]) == ([0, 1, 2], "hint")


def test_forged_calls_and_other_methods_are_refused(calls):
    assert (calls["forged"], calls["nowhere"]) == ([403, 403, 403], 403)
    assert (calls["method"], calls["allow"]) == (405, "POST")


def test_store_that_is_away_puts_deliveries_off_and_forged_calls_are_refused_all_the_same(calls):
    assert calls["down"] == [503, 403]


def test_settings_of_the_project_still_count(calls):
    assert (calls["other host"], calls["not secure"], calls["private"]) == (400, 301, 302)


def test_check_warns_of_settings_that_refuse_deliveries(seen):
    assert seen["checks"] == {
        "right": [],
        "no host": ["scrape_do.W002"],
        "development": ["scrape_do.W002"],
        "http": ["scrape_do.W003"],
        "exempt": [],
        "received elsewhere": [],
        "no keys": ["scrape_do.W004"],
        "wrong settings": [],
        "no webhooks": [],
    }
