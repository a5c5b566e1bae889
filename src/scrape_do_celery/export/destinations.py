"""The sink that a path or a URL asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from scrape_do_celery.export.remote_sink import RemoteSink
from scrape_do_celery.export.sinks import LocalSink

if TYPE_CHECKING:
    from scrape_do_celery.export.sinks import Sink


def is_url(destination: str) -> bool:
    """Return whether a destination is a URL, and not a path on this machine."""
    return "://" in destination


def open_sink(folder: str) -> Sink:
    """Return the sink of a folder.

    Raises:
        ConfigurationError: the package for a URL is not installed.
    """
    return RemoteSink.of_url(folder) if is_url(folder) else LocalSink(Path(folder))


def split_destination(destination: str) -> tuple[str, str]:
    """Return the folder and the name of a file."""
    if not is_url(destination):
        return os.path.split(destination)
    folder, _, name = destination.rpartition("/")
    # The file of a bare scheme, as `memory://pages.jsonl`, is at the root.
    return (f"{folder}/" if folder.endswith(":/") else folder), name
