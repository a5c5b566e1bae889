"""Test the parameters in the URLs of the broker and the result backend: a worker with a wrong one says which."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("setting", "parameter", "text"),
    [
        ("broker_url", "socket_timeout=5s", "SCRAPE_DO_BROKER_URL: has a parameter socket_timeout that kombu"),
        ("broker_url", "ssl_ca_certs=/missing.pem", "SCRAPE_DO_BROKER_URL: has a parameter ssl_ca_certs whose file"),
        ("result_backend", "tls=true", "SCRAPE_DO_RESULT_BACKEND: has a parameter tls that redis-py"),
    ],
)
def test_worker_with_a_wrong_parameter_ends_with_its_name(pipeline, setting, parameter, text):
    pipeline.values[setting] = f"{getattr(pipeline.settings, setting)}?{parameter}"
    if "ssl" in parameter:
        pipeline.values[setting] = pipeline.values[setting].replace("redis://", "rediss://", 1)
    with (pipeline.folder / "worker.log").open("ab") as log:
        worker = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "scrape_do_celery.worker", "worker"],
            env=pipeline.environment,
            stdout=log,
            stderr=log,
            timeout=60,
            check=False,
        )
    assert worker.returncode != 0
    assert text in pipeline.log.read_text()


def test_doctor_names_a_wrong_parameter_of_the_app(pipeline):
    """A team's app has its broker in its own configuration, which these settings do not see."""
    broker = f"{pipeline.settings.broker_url}?socket_timeout=5s"
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "app_other_broker", "scrape-do", "doctor"],
        env={**pipeline.environment, "SHOP_BROKER": broker, "SHOP_BACKEND": pipeline.settings.result_backend},
        cwd=pipeline.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "broker_url has a parameter socket_timeout that kombu does not take in a URL" in done.stdout, done.stderr
