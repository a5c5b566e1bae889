"""Pages as files."""

from __future__ import annotations

import mimetypes
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    from scrape_do_celery.models import TaskDetails

_LONGEST_NAME = 80


def file_name(number: int, task: TaskDetails) -> str:
    """A name that tells the page's place and address, safe on any file system."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", _address(task.url)).strip("-")[:_LONGEST_NAME] or "page"
    return f"{number:04d}-{name}{_suffix(task)}"


def _address(url: str) -> str:
    """Host and path of a URL; empty if Python's parser refuses what the API took."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.netloc}{parts.path}"


def write_page(folder: Path, number: int, task: TaskDetails) -> Path | None:
    """The file that the task's page was written to; None where there is no page.

    Raises:
        ValueError: the content should be base64 and is not.
    """
    content = task.decoded_content()
    if content is None or (not content and not task.is_success):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(number, task)
    path.write_bytes(content)
    return path


def _suffix(task: TaskDetails) -> str:
    headers = {name.lower(): value for name, value in task.response_headers.items()}
    kind = str(headers.get("content-type", "")).partition(";")[0].strip().lower()
    return mimetypes.guess_extension(kind) or (".bin" if task.base64_encoded_content else ".txt")
