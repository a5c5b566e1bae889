"""Check a receiver in Django's own server by the command `scrape-do doctor --webhook`, as an operator does."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from webhook_receivers import HOST, KEY, ReceiverProcess

from tests.support.redis_servers import RedisServer
from tests.support.webhook_fronts import Front

pytestmark = pytest.mark.long


@pytest.fixture
def redis_server(tmp_path):
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def receiver(redis_server, tmp_path):
    one = ReceiverProcess("django", redis_server.url, "t", tmp_path)
    yield one
    one.stop()


def check(redis_server, port):
    """Return the findings of the command about the receiver at a port."""
    values = {
        "redis_url": redis_server.url,
        "key_prefix": "t",
        "broker_url": "memory://",
        "result_backend": "cache+memory://",
        "webhook_base_url": f"http://127.0.0.1:{port}/hooks",
        "webhook_keys": KEY.decode(),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPE_DO_")}
    done = subprocess.run(
        [sys.executable, "-m", "scrape_do_celery", "doctor", "--webhook", "--json"],
        env={**kept, **{f"SCRAPE_DO_{name.upper()}": value for name, value in values.items()}},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)["findings"]
    words = ("signed delivery", "the header X-Scrape", "bytes arrives", "forged")
    return done.returncode, [(one["level"], one["text"]) for one in found if any(word in one["text"] for word in words)]


def test_operator_sets_django_up_by_the_findings_of_the_command(redis_server, receiver):
    code, ((level, told),) = check(redis_server, receiver.port)
    assert (code, level) == (1, "wrong")
    assert "add 127.0.0.1 to ALLOWED_HOSTS" in told
    with Front(receiver.port, adds={"Host": HOST}) as front:
        code, ((level, told),) = check(redis_server, front.port)
    assert (code, level) == (1, "wrong")
    assert f"a redirect to https://{HOST}/hooks/" in told
    with Front(receiver.port, adds={"Host": HOST, "X-Forwarded-Proto": "https"}) as front:
        _, found = check(redis_server, front.port)
    assert [level for level, _ in found] == ["ok"] * 4, found
    assert "a body of 3,000,000 bytes arrives whole" in [text for _, text in found]
