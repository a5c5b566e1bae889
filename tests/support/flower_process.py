"""A real Flower beside a pipeline, and the raw events that it receives."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import redis


class FlowerProcess:
    """Flower in its own process, read by its API."""

    def __init__(self, pipeline, app="scrape_do_celery.worker"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        port = self.url.rpartition(":")[2]
        command = [sys.executable, "-m", "celery", "-A", app, "flower", "--address=127.0.0.1", f"--port={port}"]
        self.log = pipeline.folder / "flower.log"
        # `--logging` is Flower's own option. Celery's option sets the log level of its libraries.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--logging=debug", "--tasks_columns=name,uuid,state,kwargs,result,runtime"],
                env={**pipeline.environment, "FLOWER_UNAUTHENTICATED_API": "1"},
                cwd=pipeline.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._client = httpx.Client(base_url=self.url, timeout=20)

    def __enter__(self):
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text()
            if time.monotonic() > deadline:
                raise TimeoutError(self.log.read_text())
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self._client.close()
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(20)

    def _answers(self):
        try:
            return self._client.get("/healthcheck").status_code == 200
        except httpx.TransportError:
            return False

    def text(self, path):
        """Return the body of a page."""
        answer = self._client.get(path)
        return answer.text if answer.status_code == 200 else ""

    def tasks(self):
        """Return every task that Flower knows, by id."""
        return self._client.get("/api/tasks").raise_for_status().json()

    def revoke(self, run_id):
        """Revoke a run as Flower's button does."""
        self._client.post(f"/api/task/revoke/{run_id}").raise_for_status()

    def task(self, run_id):
        """Return Flower's data of a run, or an empty dict if Flower does not know the run."""
        return self.tasks().get(run_id) or {}


class BrokerCapture(threading.Thread):
    """A recorder of all broadcasts at a Redis broker from now on, unpacked. Events are in no key."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self._client = redis.Redis.from_url(url)
        self._bus = self._client.pubsub()
        self._bus.psubscribe("*")
        self.heard = []
        self._over = False

    def run(self):
        while not self._over:
            message = self._bus.get_message(timeout=0.2)
            if message and message["type"] == "pmessage":
                self.heard.append(_unpacked(message["data"]))

    def events(self):
        """Return the events among the broadcasts."""
        found = [json.loads(text) for text in list(self.heard) if b'"type"' in text]
        return [event for one in found for event in (one if isinstance(one, list) else [one])]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over = True
        self.join(10)
        self._bus.close()
        self._client.close()


def _unpacked(data):
    try:
        return base64.b64decode(json.loads(data)["body"])
    except (ValueError, KeyError, TypeError):
        return data
