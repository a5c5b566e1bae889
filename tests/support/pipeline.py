"""A whole pipeline under test: settings, worker processes, and the sandbox's observations."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from scrape_do_celery import RunHandle, Settings, enqueue
from scrape_do_celery.runs import AppContext

TOKEN = "token-that-must-not-be-seen"
_ROOT = Path(__file__).parents[2]
_SUPERVISOR = Path(__file__).with_name("supervise.py")


class Pipeline:
    """The settings and processes of one test. Short intervals and leases are the only difference from production."""

    def __init__(self, redis_url, sandbox, folder, prefix, **settings):
        self.sandbox, self.folder, self.prefix = sandbox, Path(folder), prefix
        self.values = {
            "redis_url": redis_url,
            "api_url": sandbox.url,
            "api_key": TOKEN,
            "key_prefix": prefix,
            "queue": prefix,
            "poll_initial_interval": 0.1,
            "poll_max_interval": 0.5,
            "lease_seconds": 2,
            "submit_deadline": 3,
            "submit_visibility_grace": 1,
            "cancel_grace": 5,
            **settings,
        }
        self.workers = []
        # A test that changes `values` has several app contexts, one after the other.
        self.app_contexts = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait(10)
        for app_context in self.app_contexts.values():
            app_context.store.close()

    @property
    def settings(self):
        return Settings(**self.values)

    @property
    def app_context(self):
        found = AppContext.for_app(settings=self.settings)
        self.app_contexts[id(found)] = found
        return found

    @property
    def app(self):
        return self.app_context.app

    @property
    def environment(self):
        given = {f"SCRAPE_DO_{name.upper()}": str(value) for name, value in self.values.items()}
        # A checkout that is not installed is found as in this process.
        folders = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, **given, "PYTHONPATH": os.pathsep.join(folders)}

    def work(
        self,
        *arguments,
        app="scrape_do_celery.worker",
        pool="threads",
        concurrency=4,
        python=sys.executable,
        supervised=False,
        **environment,
    ):
        """Start a real worker process, and return it when it is ready or has failed to start.

        Celery's worker may exit when its broker restarts. Under a supervisor, another one is started then.
        """
        name = f"w{len(self.workers)}@{self.prefix}"
        command = [sys.executable, str(_SUPERVISOR)] if supervised else []
        command += [python, "-m", "celery", "-A", app, "worker", "-P", pool, "-c", str(concurrency)]
        command += ["-l", "INFO", "--without-gossip", "--without-mingle", "-n", name]
        with self.log.open("ab") as log:
            worker = subprocess.Popen(
                [*command, *arguments],
                env={**self.environment, **environment},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.workers.append(worker)
        ready, deadline = f"{name} ready.".encode(), time.monotonic() + 90
        while worker.poll() is None and ready not in self.log.read_bytes():
            if time.monotonic() > deadline:
                raise TimeoutError(self.log.read_text())
            time.sleep(0.02)
        return worker

    def run_tool(self, *arguments, patience=60, **environment):
        """Run a command of the package to its end, and return the process with its output."""
        return self._run_python("-m", "scrape_do_celery", *arguments, patience=patience, **environment)

    def run_code(self, code, *arguments, patience=110, **environment):
        """Run code to its end in a process of its own, and return the process with its output."""
        return self._run_python("-c", code, *arguments, patience=patience, **environment)

    def _run_python(self, *command, patience, **environment):
        return subprocess.run(
            [sys.executable, *command],
            env={**self.environment, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )

    @property
    def log(self):
        return self.folder / "worker.log"

    def enqueue(self, *args, **kwargs):
        return enqueue(*args, settings=self.settings, **kwargs)

    @property
    def steps(self):
        """The Celery tasks of this pipeline's app."""
        self.app.loader.import_default_modules()
        return self.app.tasks

    def scrape(self, **request):
        """Send the public step, and return its Celery result."""
        return self.steps["scrape_do.scrape"].apply_async(kwargs=request)

    def handle(self, run_id):
        return RunHandle(run_id, settings=self.settings)

    def posts(self):
        """Return the number of jobs that the sandbox sold since its last reset."""
        return len(self.sandbox.jobs())

    def stored_keys(self):
        return sorted(key.decode() for key in self.app_context.store.client.scan_iter(f"{self.prefix}:*"))
