"""A worker application that one page kills at each fetch of that page.

The page's host is `deadly.example`. Each other page takes a moment, so that its part is at work when the process dies.
"""

from __future__ import annotations

import asyncio
import os
import signal

from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient
from scrape_do_celery.worker import app

_get_task = AsyncScrapeDoAsyncAPIClient.get_task


async def get_task(self, *args, **kwargs):
    task = await _get_task(self, *args, **kwargs)
    if "deadly.example" in task.url:
        await asyncio.sleep(0.3)
        os.killpg(0, signal.SIGKILL)
    await asyncio.sleep(0.6)
    return task


AsyncScrapeDoAsyncAPIClient.get_task = get_task
__all__ = ["app"]
