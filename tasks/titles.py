"""Save the titles of scraped pages to a file. The task is meant to be chained after a scrape."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from celery import shared_task

from config.settings import output_dir
from scrape_do_celery import RunHandle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from scrape_do_celery import TaskDetails


@shared_task(name="app.save_titles")
def save_titles(result: dict[str, Any]) -> dict[str, Any]:
    """Save the title of each page of a run; a second call writes the same file again.

    `result` is the small result of a scrape: figures and the run's id. The pages come from the store.
    """
    handle = RunHandle(result["run_id"])
    titles = [entry(task) for task in handle.iter_tasks()]
    path = output_dir() / name_file(handle.run_id)
    write_whole(path, json.dumps(titles, indent=2, ensure_ascii=False))
    return {"run_id": handle.run_id, "file": str(path), "titles": sum(one["title"] is not None for one in titles)}


def name_file(run_id: str) -> str:
    """Return the name of a run's file, always the same. A caller may choose any run id, also one with slashes."""
    return f"{uuid.uuid5(_RUNS, run_id)}.json"


def entry(task: TaskDetails) -> dict[str, Any]:
    """Return the entry of the file for one page."""
    return {
        "url": task.url,
        "status": str(task.status),
        "status_code": task.status_code,
        "title": None if task.base64_encoded_content else title_of(task.content or ""),
    }


def title_of(page: str) -> str | None:
    """Return the text of the page's first `<title>`, or None if the page has none."""
    parser = _TitleParser()
    # html.parser raises AssertionError for a malformed declaration. Such a page must not cost the titles of the others.
    with suppress(AssertionError):
        for start in range(0, len(page), _CHUNK):
            parser.feed(page[start : start + _CHUNK])
            if parser.done:
                break
    return " ".join("".join(parser.pieces).split()) or None


def write_whole(path: Path, text: str) -> None:
    """Write a file that readers find complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{uuid.uuid4().hex}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


#: The namespace of the names of files.
_RUNS = uuid.UUID("5b1b5f0e-6a43-4b0c-9d51-0f4f5c1a7a55")
#: Characters that are parsed at a time. A title is near the start of its page, so the rest is not parsed.
_CHUNK = 4096


class _TitleParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._inside = self.done = False

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._inside = self._inside or (tag == "title" and not self.done)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title" and self._inside:
            self._inside, self.done = False, True

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.pieces.append(data)
