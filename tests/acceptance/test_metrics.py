"""Test `scrape-do metrics` beside a real worker: each metric of definitions and dashboard is served."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scrape_do_celery import embedded
from scrape_do_celery.metrics.definitions import METRICS

ROOT = Path(__file__).parents[2]


class Page:
    """The metrics that the command serves."""

    def __init__(self, url):
        self._url = url
        self.text = ""

    def __call__(self, name, **labels):
        """Return the present value of a sample, or None if there is no such sample."""
        with urllib.request.urlopen(self._url, timeout=10) as answer:
            self.text = answer.read().decode()
        wanted = f"scrape_do_{name}"
        samples = (s for family in text_string_to_metric_families(self.text) for s in family.samples)
        return next((s.value for s in samples if s.name == wanted and s.labels.items() >= labels.items()), None)


@pytest.fixture
def serving(pipeline):
    @contextmanager
    def serve(*command, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", *(command or ("scrape_do_celery",)), *("metrics", "--port", "0")],
            env={**pipeline.environment, **environment},
            cwd=pipeline.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Page(process.stdout.readline().strip())
        finally:
            process.terminate()
            assert process.wait(20) == 0
            process.stdout.close()

    return serve


def test_metrics_are_served_beside_a_worker(pipeline, serving, eventually):
    with serving("celery", "-A", "scrape_do_celery.worker", "scrape-do") as page:
        assert page("store_up") == 1
        waiting = pipeline.enqueue(["https://a.example/wait"])
        eventually(lambda: page("runs", state="queued") == 1)
        assert page("oldest_run_seconds", state="queued") > 0
        pipeline.work()
        waiting.result(timeout=60)
        pipeline.sandbox.fault("status", kind="get_job", status=503, times=1)
        done = pipeline.enqueue([f"https://a.example/{n}" for n in range(3)])
        long = pipeline.enqueue(["https://a.example/?seconds=600"])
        done.result(timeout=60)
        eventually(lambda: page("runs", state="running") == 1)
        eventually(lambda: page("runs", state="delivering") == 0)
        assert page("runs", state="queued") == 0
        assert page("runs_ended_total", outcome="succeeded") == 2
        assert page("tasks_total", result="success") == 4
        assert page("credits_spent_total") == pytest.approx(sum(task.cost for task in done.iter_tasks()) * 4 / 3)
        eventually(lambda: page("contents_bytes") == page("contents_written_bytes_total") > 0)
        eventually(lambda: page("api_requests_total", call="create_job", outcome="ok") == 3)
        eventually(lambda: page("api_requests_total", call="get_job", outcome="server_error") == 1)
        eventually(lambda: page("api_requests_total", call="get_task", outcome="ok") == 4)
        assert page("step_latency_seconds_count", step="poll") >= 2
        assert page("credits_left", account=pipeline.settings.account_id) > 0
        assert page("contents_unfetched", within="all") == 1
        assert page("paid_expiry_seconds") == pytest.approx(3 * 86_400, rel=0.1)
        named = set(re.findall(r"^# TYPE (\w+)", page.text, re.MULTILINE))
        assert {metric.name for metric in METRICS} <= named
        assert named_in_dashboard() <= named
        for secret in (waiting.run_id, done.run_id, long.run_id, "a.example/", pipeline.values["api_key"]):
            assert secret not in page.text
        assert page("host_credits_today", host="a.example") == page("credits_spent_total")


def named_in_dashboard():
    """Return the metrics that the dashboard and the alerts name, without the suffixes of histogram samples."""
    texts = [ROOT / "config" / "grafana" / "scrape-do.json", ROOT / "config" / "prometheus-alerts.yml"]
    found = set(re.findall(r"scrape_do_\w+", "".join(path.read_text() for path in texts)))
    assert json.loads(texts[0].read_text())["panels"]
    return {re.sub("_(bucket|sum|count)$", "", name) for name in found}


def test_without_a_token_all_else_is_served(pipeline, serving):
    with serving(SCRAPE_DO_API_KEY="") as page:
        assert page("account_status", outcome="no_token") == 1
        assert page("store_up") == 1
        assert page("credits_left") is None


@pytest.mark.long
def test_a_store_that_hangs_is_told_before_prometheus_gives_up(serving, tmp_path, eventually):
    # Prometheus gives a page as much time as config/prometheus.yml says.
    with (
        embedded.ensure(tmp_path / "store", tie_to_parent=True) as server,
        serving(SCRAPE_DO_REDIS_URL=server.url, SCRAPE_DO_API_KEY="") as page,
    ):
        assert page("store_up") == 1
        os.kill(server.pid, signal.SIGSTOP)
        try:
            assert page("store_up") == 0
        finally:
            os.kill(server.pid, signal.SIGCONT)
        eventually(lambda: page("store_up") == 1)
