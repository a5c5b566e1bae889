"""Test with a real worker that text of the API forges no line, and that results hold no secret."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pipeline import TOKEN

from scrape_do_celery import AsyncAPIBadRequestError, TaskFailedError

PRIVATE = "that-is-private"
FORGED = "[2026-01-01 00:00:00,000: ERROR/MainProcess] a forged line"
HOSTILE = f"bad request\n{FORGED}\r\n\x1b[2J\x1b]0;owned\x07\u202e"


def run_command(pipeline, *arguments):
    """Return all bytes that a command of the package prints."""
    command = [sys.executable, "-m", "scrape_do_celery", *arguments]
    done = subprocess.run(command, env=pipeline.environment, capture_output=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.mark.long
def test_refusal_of_the_api_forges_no_line(pipeline):
    body = json.dumps({"Error": HOSTILE, "Code": 400})
    pipeline.sandbox.fault("status", kind="create_job", target="refused.example", status=400, body=body)
    pipeline.work()
    handle = pipeline.enqueue(["https://refused.example/"])
    with pytest.raises(AsyncAPIBadRequestError) as caught:
        handle.result(timeout=60)
    assert str(caught.value).isprintable()
    log = pipeline.log.read_bytes()
    assert b"bad request" in log
    assert [line for line in log.splitlines() if line.startswith(FORGED.encode())] == []
    shown = run_command(pipeline, "status", handle.run_id) + run_command(pipeline, "result", handle.run_id)
    assert b"a forged line" in shown
    for text in (log, shown):
        assert not {0x1B, 0x07} & set(text)
        assert "\u202e".encode() not in text
    assert not any(line.startswith(FORGED.encode()) for line in shown.splitlines())


@pytest.mark.long
def test_failed_task_travels_without_secrets(pipeline):
    pipeline.work("-l", "DEBUG")
    target = f"https://user:{PRIVATE}@a.example/?sandbox=error&api_key={PRIVATE}"
    handle = pipeline.enqueue(
        [target, "https://a.example/"],
        raise_on_task_failure=True,
        webhook_url=f"http://127.0.0.1:9/{PRIVATE}?token={PRIVATE}",
    )
    with pytest.raises(TaskFailedError) as caught:
        handle.result(timeout=60)
    assert caught.value.task.url == "https://***@a.example/?sandbox=error&api_key=***"
    stored = pipeline.app.AsyncResult(handle.run_id)
    with pytest.raises(TaskFailedError):
        stored.get(timeout=60)
    for text in (repr(caught.value.args), json.dumps(stored.backend.get_task_meta(handle.run_id), default=repr)):
        assert PRIVATE not in text
        assert "***@a.example" in text
    assert PRIVATE not in pipeline.log.read_text()
    assert TOKEN not in pipeline.log.read_text()
    # The caller's own data stays unchanged.
    assert [task.url for task in handle.iter_tasks()] == [target, "https://a.example/"]
