"""Send forged deliveries for each job that the sandbox sells: `python -m tests.faults.forger SANDBOX_URL FILE`.

The forger sees what the API's answers and access logs show: URLs of webhooks, JobIDs and TaskIDs. It also has the
secrets of other purchases. Each of its bodies has `FORGED` as content, which nobody may ever read. The file says how
many deliveries of each kind were sent, and how they were answered.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import subprocess
import sys
from collections import Counter, deque
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from scrape_do_celery.rules.webhook_tokens import HEADER, make_secret, read_purchase
from tests.faults.receivers import KEY
from tests.faults.webhooks import FORGED

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]
#: Seconds between two looks at the log, the forged deliveries for a job, and the seconds within which they are sent.
_PAUSE, _COUNT, _WITHIN = 0.1, 6, 1.5
_TIMEOUT = 5.0
#: Secrets of other purchases that the forger remembers.
_REMEMBERED = 100
KINDS = ("no header", "wrong header", "header of another run", "replay", "wrong URL", "large", "many values", "bomb")


class Forger:
    """A sender of forged deliveries."""

    def __init__(self, sandbox: str, file: Path) -> None:
        self._sandbox, self._file, self._rng = sandbox, file, random.Random()
        self._known: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._running: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Forge deliveries forever."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout) as self._session:
            since = 0
            while True:
                await asyncio.sleep(_PAUSE)
                _write_file(self._file, json.dumps(self.counts))
                with suppress(aiohttp.ClientError, TimeoutError):
                    since = await self._read_log(since)

    async def _read_log(self, since: int) -> int:
        # The newest known entry is read again. It is missing if the sandbox was reset.
        async with self._session.get(f"{self._sandbox}/_sandbox/log?since={max(0, since - 1)}") as answer:
            entries = await answer.json()
        if not entries:
            return 0
        for entry in entries:
            if entry["index"] > since and entry.get("webhook_url"):
                self._plan(entry)
        return int(entries[-1]["index"])

    def _plan(self, job: dict[str, Any]) -> None:
        for _ in range(_COUNT):
            kind = self._rng.choice(KINDS)
            task = asyncio.get_running_loop().create_task(self._forge(kind, job, self._rng.uniform(0, _WITHIN)))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._known.append(job)

    async def _forge(self, kind: str, job: dict[str, Any], delay: float) -> None:
        await asyncio.sleep(delay)
        other = self._rng.choice(self._known)
        url, headers, body = self._make_delivery(kind, job, other)
        status: object = "no answer"
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with self._session.post(url, data=body, headers=headers) as answer:
                status = answer.status
        self.counts[f"{kind}: {status}"] += 1

    def _make_delivery(
        self, kind: str, job: dict[str, Any], other: dict[str, Any]
    ) -> tuple[str, dict[str, str], bytes]:
        named = other if kind == "replay" else job
        task = {
            "TaskID": self._rng.choice(named["task_ids"]),
            "JobID": named["job_id"],
            "URL": job["targets"][0],
            "Status": "success",
            "StatusCode": 200,
            "Base64EncodedContent": False,
            "Content": f"<html>{FORGED} {'x' * 99}</html>",
        }
        url, headers, body = job["webhook_url"], {}, json.dumps(task).encode()
        if kind == "wrong header":
            headers[HEADER] = self._rng.randbytes(32).hex()
        if kind in {"header of another run", "replay"} and other is not job:
            headers[HEADER] = self._secret_of(other)
        if kind == "wrong URL":
            url = f"{url[:-1]}{'1' if url[-1] == '0' else '0'}"
        if kind == "large":
            body = body[:-1] + b', "More": "' + b"x" * 3_000_000 + b'"}'
        if kind == "many values":
            body = body[:-1] + b', "More": [' + b"{}," * 100_000 + b"0]}"
        if kind == "bomb":
            headers["Content-Encoding"], body = "gzip", gzip.compress(body + b" " * 30_000_000, 1)
        return url, headers, body

    def _secret_of(self, job: dict[str, Any]) -> str:
        key = KEY.encode()
        purchase = read_purchase(urlsplit(job["webhook_url"]).path, [key])
        if purchase is None:
            raise ValueError(f"the lab has not signed {job['webhook_url']}")
        return make_secret(key, purchase)


def _write_file(file: Path, text: str) -> None:
    """Replace the file at once, so that a reader never sees a part of the text."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)


@contextmanager
def start_forger(sandbox: str, file: Path) -> Iterator[None]:
    """Run the forger in a process of its own until the end of the block."""
    process = subprocess.Popen([sys.executable, "-m", "tests.faults.forger", sandbox, str(file)], cwd=_ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(Forger(sys.argv[1], Path(sys.argv[2])).run())
