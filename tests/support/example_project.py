"""A user's project: a copy of an example, run in its own processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx

EXAMPLES = Path(__file__).parents[2] / "examples"


class ExampleProject:
    """A copy of an example. Its commands, site and workers run on the user's own interpreter."""

    def __init__(self, example, python, pipeline, **environment):
        self.python, self.pipeline, self.folder = python, pipeline, pipeline.folder / "project"
        shutil.copytree(EXAMPLES / example, self.folder)
        server = pipeline.values["redis_url"].rpartition("/")[0]
        own = {"PYTHONPATH": str(self.folder), "REDIS_URL": server}
        self.environment = {**pipeline.environment, **own, **environment}
        self.web = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.web is not None:
            os.killpg(self.web.pid, signal.SIGTERM)
            self.web.wait(20)

    def run(self, *arguments, code=0, **environment):
        """Return a command's output. If it was expected to fail, append its standard error."""
        done = subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def work(self, app, **environment):
        """Start a worker of the project's own Celery app."""
        self.pipeline.folder = self.folder
        return self.pipeline.work(app=app, python=self.python, **{**self.environment, **environment})

    def serve(self, *arguments, address="{host}:{port}", ready="", port=0):
        """Start the project's site, and return its address once its page `ready` answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", port))
            port = free.getsockname()[1]
        with (self.folder / "web.log").open("wb") as log:
            self.web = subprocess.Popen(
                [self.python, *arguments, address.format(host="127.0.0.1", port=port)],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while not _answers(url + ready):
            assert self.web.poll() is None, (self.folder / "web.log").read_text()
            if time.monotonic() > deadline:
                raise TimeoutError((self.folder / "web.log").read_text())
            time.sleep(0.05)
        return url


def _answers(url):
    try:
        return httpx.get(url).is_success
    except httpx.ConnectError:
        return False
