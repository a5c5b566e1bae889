"""The floor: one aiohttp process without queue and storage that parses the same bodies, as fast as possible.

`python -m benchmarks.floor URL` reads lists of targets as JSON, scrapes them, and prints the time and bytes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from scrape_do_celery.models import JobCreationResponse, JobDetails, TaskDetails

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONNECTIONS = 50
#: The first poll is exactly at the end of the jobs of A and B, and polls are frequent from then on. Nothing could be
#: faster.
_FIRST_WAIT, _CHECK_INTERVAL = 1.0, 0.1


def run_floor(url: str, batches: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return `seconds` from the first `POST` to the last parsed page, and the `bytes` of all pages."""
    command = [sys.executable, "-m", "benchmarks.floor", url]
    answer = subprocess.run(command, input=json.dumps(batches), capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode:
        raise RuntimeError(f"the floor failed: {answer.stderr[-2_000:]}")
    found: dict[str, float] = json.loads(answer.stdout)
    return found


class _Floor:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def scrape(self, targets: Sequence[str]) -> int:
        """Scrape one job from its `POST` to its last page, and return the total length of the pages."""
        body = await self._ask("POST", "jobs", json={"Targets": targets})
        made = JobCreationResponse.model_validate_json(body)
        pause = _FIRST_WAIT
        while True:
            await asyncio.sleep(pause)
            job = JobDetails.model_validate_json(await self._ask("GET", f"jobs/{made.job_id}"))
            if job.is_terminal:
                break
            pause = _CHECK_INTERVAL
        return sum(await asyncio.gather(*(self._page(job, task_id) for task_id in job.task_ids)))

    async def _page(self, job: JobDetails, task_id: str) -> int:
        task = TaskDetails.model_validate_json(await self._ask("GET", f"jobs/{job.job_id}/{task_id}"))
        if not task.is_success:
            raise ValueError(f"task {task_id} is {task.status}")
        return len(task.content or "")

    async def _ask(self, method: str, path: str, **options: Any) -> bytes:
        async with self._session.request(method, f"/api/v1/{path}", **options) as answer:
            answer.raise_for_status()
            return await answer.read()


async def _scrape_all(url: str, batches: Sequence[Sequence[str]]) -> dict[str, float]:
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(url, connector=connector, headers={"X-Token": "benchmark"}) as session:
        floor, start = _Floor(session), time.perf_counter()
        lengths = await asyncio.gather(*(floor.scrape(targets) for targets in batches))
        return {"seconds": time.perf_counter() - start, "bytes": float(sum(lengths))}


if __name__ == "__main__":
    json.dump(asyncio.run(_scrape_all(sys.argv[1], json.load(sys.stdin))), sys.stdout)
