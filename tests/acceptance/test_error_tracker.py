"""Test with Sentry's own SDK and its default settings that no event holds a secret of a request or a setting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[1] / "support"
SECRETS = {
    name: f"{name.lower()}-5ecret-that-is-private"
    for name in ("TOKEN", "HEADER", "COOKIE", "BODY", "HOOK", "PROXY_PASSWORD", "REDIS_PASSWORD")
}
CALLS = 14
CALLER_STEPS = ("scrape_do.scrape", "scrape_do.scheduled_run")


def events_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def errors_of(file):
    """Return the type and text of each error that the SDK captured, and of its causes."""
    found = [event["exception"]["values"] for event in events_of(file) if "exception" in event]
    return [(one["type"], one["value"]) for values in found for one in values]


def leaks_of(file):
    """Return the frames that show a secret, with the secret's name."""
    found = []
    for event in events_of(file):
        for one in event.get("exception", {}).get("values", ()):
            for frame in one.get("stacktrace", {}).get("frames", ()):
                text = json.dumps(frame.get("vars", {}))
                found += [(name, frame["module"], frame["function"]) for name, v in SECRETS.items() if v in text]
    whole = file.read_text()
    return sorted(set(found)) or [name for name, value in SECRETS.items() if value in whole]


@pytest.mark.long
def test_failed_calls_of_a_web_process_show_no_secret(tmp_path):
    file = tmp_path / "events"
    environment = {**os.environ, **SECRETS, "SCRAPE_DO_CREDENTIALS": json.dumps({"a": {"body": SECRETS["BODY"]}})}
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "calls_with_sentry.py"), str(file)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == CALLS, done.stdout
    kinds = {kind for kind, _ in errors_of(file)}
    assert kinds >= {"StoreUnavailableError", "APIConnectionError", "ValidationError", "SettingsError", "RuntimeError"}
    # The SDK records local variables: those of the caller's own frame are there.
    assert "JobCreationRequest" in file.read_text()
    assert leaks_of(file) == []
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS.values())


@pytest.mark.long
def test_unexpected_errors_of_steps_show_no_secret(pipeline, tmp_path, eventually):
    file = tmp_path / "events"
    private = {"Authorization": f"Bearer {SECRETS['HEADER']}", "Cookie": f"session={SECRETS['COOKIE']}"}
    pipeline.values |= {
        "api_key": SECRETS["TOKEN"],
        "credentials": json.dumps({"shop": {"headers": private}}),
        "proxy": f"http://user:{SECRETS['PROXY_PASSWORD']}@127.0.0.1:9",
    }
    request = {
        "headers": private,
        "method": "POST",
        "body": SECRETS["BODY"],
        "webhook_url": f"https://hook.example/{SECRETS['HOOK']}",
        "webhook_headers": {"X-Hook": SECRETS["HOOK"]},
    }
    pipeline.work("-l", "DEBUG", app="app_with_sentry", EVENTS_FILE=str(file))
    queue = pipeline.settings.queue
    pipeline.enqueue(["https://bug-in-step.example/"], **request)
    at_start = {"targets": ["https://bug-at-start.example/"], **request}
    tick = {"name": "prices", "tick": "1", "rule": {}, "if_running": "skip", "request": at_start}
    for step, kwargs in zip(CALLER_STEPS, (at_start, tick), strict=True):
        pipeline.app.send_task(step, kwargs=kwargs, queue=queue)
    # A purchase through a proxy that is not there fails as well.
    pipeline.enqueue(["https://a.example/"], **request)

    def have_failed():
        found = [text for _, text in errors_of(file)] if file.exists() else []
        starts = sum("a bug at the start" in text for text in found)
        posted = "the POST failed (not_sent)" in pipeline.log.read_text()
        return posted and starts >= len(CALLER_STEPS) and any("a bug in a step" in text for text in found)

    eventually(have_failed)
    assert leaks_of(file) == []
    log = pipeline.log.read_text()
    assert "a bug in a step" in log
    assert [name for name, value in SECRETS.items() if value in log] == []
