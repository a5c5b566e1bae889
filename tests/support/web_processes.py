"""Processes that enqueue runs as those of a web server do."""

from __future__ import annotations

import subprocess
import sys

#: A web process: it enqueues a run for each line that it reads, and answers with the seconds that this took.
WEB = """
import sys, time
from scrape_do_celery import enqueue
for line in sys.stdin:
    began = time.monotonic()
    while True:
        try:
            handle = enqueue([f"https://a.example/{line.strip()}"])
            print(handle.run_id, time.monotonic() - began, flush=True)
            break
        except Exception as error:
            print(repr(error), file=sys.stderr, flush=True)
            time.sleep(0.1)
"""


class WebProcess:
    """A producing process, which keeps its connections from one request to the next."""

    def __init__(self, pipeline):
        self._pipeline = pipeline
        self._process = subprocess.Popen(
            [sys.executable, "-c", WEB],
            env=pipeline.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def enqueue(self, word):
        """Let the process enqueue a run. Return its handle, and the seconds that this took."""
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        run_id, took = self._process.stdout.readline().split()
        return self._pipeline.handle(run_id), float(took)

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        if error:
            self._process.kill()
        code = self._process.wait(20)
        assert error or code == 0
