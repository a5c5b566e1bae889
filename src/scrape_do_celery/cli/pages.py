"""The writing of pages to files."""

from __future__ import annotations

import json
import mimetypes
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scrape_do_celery.export.sinks import LocalSink

if TYPE_CHECKING:
    from pathlib import Path

    from scrape_do_celery.models import TaskDetails

_LONGEST_NAME = 80


def file_name(number: int, task: TaskDetails) -> str:
    """Return a file name from the page's number and URL, safe on any file system."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", _host_and_path(task.url)).strip("-")[:_LONGEST_NAME] or "page"
    return f"{number:04d}-{name}{_file_suffix(task)}"


def _host_and_path(url: str) -> str:
    """Return host and path of a URL, or an empty text if Python's parser refuses a URL that the API accepted."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    # The part before the at sign may be a password. Folders are listed, packed and shared.
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def write_page(folder: Path, number: int, task: TaskDetails) -> Path | None:
    """Write the task's page to a file, and its `meta` to a file beside it. Return the path; None without a page.

    A file of an earlier call with this name is replaced, together with its `meta`.

    Raises:
        ValueError: the content should be base64 and is not.
    """
    content = task.decoded_content()
    if content is None or (not content and not task.is_success):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(number, task)
    beside = path.with_name(f"{path.stem}.meta.json")
    # The folder may hold pages of another run. Their `meta` must never stand beside this page, whenever this stops.
    beside.unlink(missing_ok=True)
    # With a full disk, neither half a page nor an empty file may take the place of an earlier page.
    with LocalSink(folder).create(path.name) as file:
        file.write(content)
    if task.meta is not None:
        beside.write_text(json.dumps(task.meta, ensure_ascii=False), encoding="utf-8")
    return path


def _file_suffix(task: TaskDetails) -> str:
    headers = {name.lower(): value for name, value in task.response_headers.items()}
    kind = str(headers.get("content-type", "")).partition(";")[0].strip().lower()
    return mimetypes.guess_extension(kind) or (".bin" if task.base64_encoded_content else ".txt")
