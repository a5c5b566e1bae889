"""A warm process that forks workers. A forked worker is ready in a tenth of the time of a normal start.

The process reads one JSON command per line. On stdout the process reports which worker began and which ended.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import select
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

_DEATH_SIGNAL = 1
#: Modules that a worker imports before it is ready. A fork has them already.
_PRELOADED = (
    "anyio._backends._asyncio",
    "billiard.popen_fork",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.concurrency.prefork",
    "celery.concurrency.thread",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.strategy",
    "kombu.pidbox",
    "kombu.transport.redis",
    "scrape_do_celery.worker.lifecycle",
)
#: Seconds that a dead worker's child processes may take to notice its death and end.
_ORPHAN_TIMEOUT = 20.0


def main() -> int:
    """Serve until stdin ends, then end all workers."""
    _preload()
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    groups: dict[int, float | None] = {}
    _report(ready=True)
    text = b""
    while True:
        ready = select.select([0, wake], [], [], 1.0)[0]
        if wake in ready:
            os.read(wake, 4096)
        if 0 in ready:
            if not (more := os.read(0, 65536)):
                break
            *lines, text = (text + more).split(b"\n")
            for line in lines:
                groups[_spawn(json.loads(line), waker)] = None
        _reap(groups)
    for group in groups:
        _kill_group(group)
    return 0


def _preload() -> None:
    for name in _PRELOADED:
        import_module(name)
    import httpx._transports.default as transports

    from tests.faults.worker import app

    app.loader.import_default_modules()
    app.finalize()
    # Each client would read the same certificates anew, and no client of the lab uses TLS.
    context = transports.create_ssl_context()
    transports.create_ssl_context = lambda *_, **__: context
    if threading.active_count() != 1:
        raise RuntimeError("a process with threads must not fork workers")
    gc.collect()
    gc.freeze()


def _spawn(command: dict[str, Any], waker: int) -> int:
    pid = os.fork()
    if not pid:
        os.close(waker)
        _run_worker(command)
    _report(began=command["slot"], pid=pid)
    return pid


def _run_worker(command: dict[str, Any]) -> NoReturn:
    """Turn this process into a worker."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        os.setsid()
        log = os.open(command["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for stream, number in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(stream, number)
        random.seed()
        from tests.faults.worker import app

        app.worker_main(command["argv"])
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 (only the worker's log can record the error)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _reap(groups: dict[int, float | None]) -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = found
            groups[pid] = time.monotonic()
            _report(ended=pid, code=os.waitstatus_to_exitcode(status))
    for group, since in list(groups.items()):
        if since is not None and time.monotonic() - since > _ORPHAN_TIMEOUT:
            _kill_group(group)
            del groups[group]


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _report(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
