"""Receivers of webhooks in processes of real servers, the parts that deliveries belong to, and senders."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from scrape_do_celery.rules.webhook_tokens import HEADER, PurchaseId, make_secret, make_url
from scrape_do_celery.store import PartId, PartState, RunSpec
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import ClaimPart, UpdatePart

KEY = b"0123456789abcdef" * 2
HOST = "shop.example"
BASE_URL = f"https://{HOST}/hooks"
#: The largest body of a delivery in these tests.
LIMIT = 4_000_000
_SUPPORT = Path(__file__).parent
_GUNICORN = ("gunicorn", "--workers", "1", "--log-level", "warning", "--bind", "fd://{fd}")
_UVICORN = ("uvicorn", "--log-level", "warning", "--no-access-log", "--port", "{port}")
#: Name -> the module that `python -m` runs, with its arguments.
SERVERS = {
    "django": (*_GUNICORN, "app_webhooks_django:application"),
    "flask": (*_GUNICORN, "--threads", "4", "app_webhooks_flask:app"),
    "wsgi": (*_GUNICORN, "scrape_do_celery.webhooks.wsgi:app"),
    "django async": (*_UVICORN, "app_webhooks_django:asgi_application"),
    "asgi": (*_UVICORN, "app_webhooks_asgi:app"),
    "fastapi": (*_UVICORN, "app_webhooks_mounted:app"),
    "command": ("scrape_do_celery", "webhook", "--port", "{port}"),
}
ASYNC = ("django async", "asgi", "fastapi", "command")
#: Faces that limit the time of a slow sender themselves. The time of `command` is that of production.
BOUNDED = ("asgi", "fastapi")


class ReceiverProcess:
    """A receiver in the process of a real server. With a `port`, a later one can take its place."""

    def __init__(self, face, redis_url, prefix, folder, *, port=0, **settings):
        self.face, self._log = face, folder / "receiver.log"
        values = {
            "redis_url": redis_url,
            "broker_url": "memory://",
            "result_backend": "cache+memory://",
            "key_prefix": prefix,
            "webhook_base_url": BASE_URL,
            "webhook_keys": KEY.decode(),
            "webhook_trust": "content",
            "webhook_max_bytes": LIMIT,
            **settings,
        }
        with socket.create_server(("127.0.0.1", port), backlog=512) as listener:
            self.port, descriptor = listener.getsockname()[1], listener.fileno()
            words = [word.format(fd=descriptor, port=self.port) for word in SERVERS[face]]
            if "fd://{fd}" not in SERVERS[face]:
                # The server binds its port itself.
                listener.close()
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", *words],
                    env={
                        **{name: value for name, value in os.environ.items() if not name.startswith("SCRAPE_DO_")},
                        **{f"SCRAPE_DO_{name.upper()}": str(value) for name, value in values.items()},
                        "PYTHONPATH": os.pathsep.join([str(_SUPPORT), os.environ.get("PYTHONPATH", "")]),
                        "WEBHOOK_URLS": "webhook_async_urls" if face == "django async" else "webhook_urls",
                    },
                    pass_fds=[] if listener.fileno() < 0 else [descriptor],
                    cwd=folder,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        try:
            self._wait()
        except BaseException:
            self._process.kill()
            raise

    def _wait(self):
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, self.log
            with suppress(OSError, http.client.HTTPException):
                if self.call("/hooks/x", method="GET")[0] == 403:
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(self.log)
            time.sleep(0.05)

    @property
    def log(self):
        return self._log.read_text()

    @contextmanager
    def growth(self, size):
        """Yield a list that gets, at the end, the growth of the server's peak memory, as a share of `size`."""
        main = psutil.Process(self._process.pid)
        processes, found = [one.pid for one in (main, *main.children(recursive=True))], []
        for pid in processes:
            # The peak becomes what is used now.
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        before = sum(map(_read_peak, processes))
        yield found
        found.append((sum(map(_read_peak, processes)) - before) / size)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(self, path, body=b"", *, method="POST", connection=None, chunked=False, **headers):
        """Return the status, the text and the headers of an answer. `body` may be an iterable of chunks."""
        one = connection or self.connect()
        try:
            one.request(method, path, body, self.head(headers), encode_chunked=chunked)
        except (BrokenPipeError, ConnectionResetError):
            # A server may answer before it has read the whole body.
            assert not chunked
        answer = one.getresponse()
        text = answer.read().decode()
        if connection is None:
            one.close()
        return answer.status, text, answer.headers

    @staticmethod
    def head(headers):
        """Return the headers of a call, as a proxy with TLS forwards them."""
        given = {"Host": HOST, "X-Forwarded-Proto": "https", "Content-Type": "application/json"}
        return {**given, **{name.replace("_", "-"): value for name, value in headers.items()}}

    def open_slowly(self, path, size, **headers):
        """Return the socket of a sender that has sent the head of a call with a body of `size` bytes."""
        lines = [f"{name}: {value}" for name, value in self.head({**headers, "Content_Length": size}).items()]
        one = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        one.sendall("\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode())
        return one

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self):
        self._process.terminate()
        assert self._process.wait(30) in {0, -15}, self.log


def _read_peak(pid):
    """Return the bytes of the peak memory of a process."""
    (line,) = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


class BoughtPart:
    """A part with a job, and the deliveries of its tasks."""

    def __init__(self, store, run_id, tasks=3):
        self._store, self.part_id, self.purchase = store, PartId(run_id, 0), PurchaseId(run_id, 0, 1)
        self.job_id, self.targets = f"job-{run_id}", [f"https://a.example/{n}" for n in range(tasks)]
        store.run(CreateRun(run_id, RunSpec.from_arguments(self.targets)))
        claim = store.run(ClaimPart(self.part_id, "t", seconds=30, states=list(PartState), isolated=True))
        # A shortcut: the purchase itself is not under test.
        store.client.hset(store.keys.part(self.part_id), mapping={"state": PartState.RUNNING, "purchases": 1})
        ids = [f"task-{n}" for n in range(tasks)]
        fields = {"job": self.job_id, "tasks": pack(ids)}
        assert store.run(UpdatePart(claim, fields, after=0.0, owner=self.job_id)) == "ok"

    @property
    def path(self):
        return urlsplit(make_url(BASE_URL, KEY, self.purchase)).path

    @property
    def secret(self):
        return {HEADER.replace("-", "_"): make_secret(KEY, self.purchase)}

    def body(self, at=0, content="<html>", **changes):
        task = {
            "TaskID": f"task-{at}",
            "JobID": self.job_id,
            "URL": self.targets[at],
            "Status": "success",
            "Content": content,
            "StatusCode": 200,
            **changes,
        }
        return json.dumps(task).encode()

    @property
    def entries(self):
        """The kinds of the entries for steps, by position or name."""
        found = self._store.client.hgetall(self._store.keys.deliveries(self.part_id))
        return {name.decode(): value.decode().partition(" ")[0] for name, value in found.items()}

    @property
    def stored(self):
        """The positions of the stored pages."""
        return {int(one) for one in self._store.client.hkeys(self._store.keys.contents(self.part_id))}


@cache
def make_bomb(size):
    """Return a small body that expands to `size` bytes."""
    return gzip.compress(b'{"Content": "' + b" " * size + b'"}', 6)
