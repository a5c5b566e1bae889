"""The sink that a path or a URL asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.export.extras import load_extra
from scrape_do_celery.export.remote_sink import RemoteSink
from scrape_do_celery.export.sinks import LocalSink
from scrape_do_celery.outside_text import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.export.sinks import Sink


def is_url(destination: str) -> bool:
    """Return whether a destination is a URL, and not a path on this machine."""
    return "://" in destination


def find_file_system(url: str) -> None:
    """Check that fsspec, and the package for a kind of URL, are installed.

    Raises:
        ConfigurationError: a package is not installed, or no such kind exists.
    """
    fsspec = load_extra("fsspec", "fsspec")
    try:
        fsspec.get_filesystem_class(read_protocol(url))
    except (ImportError, ValueError) as error:
        raise ConfigurationError(f"cannot write to {redact_url(url)}: {error}") from None


def read_protocol(url: str) -> str:
    """Return the kind of a URL, such as `s3`. Of a chain of kinds, return the first one."""
    return url.partition("://")[0].partition("::")[0].lower()


def open_sink(folder: str, storage: Mapping[str, Mapping[str, Any]]) -> Sink:
    """Return the sink of a folder. `storage` has the options of file systems, by the kinds of their URLs.

    Raises:
        ConfigurationError: the package for a URL is not installed.
    """
    return (
        RemoteSink.of_url(folder, storage.get(read_protocol(folder), {})) if is_url(folder) else LocalSink(Path(folder))
    )


def split_destination(destination: str) -> tuple[str, str]:
    """Return the folder and the name of a file."""
    if not is_url(destination):
        return os.path.split(destination)
    folder, _, name = destination.rpartition("/")
    # The file of a bare scheme, as `memory://pages.jsonl`, is at the root.
    return (f"{folder}/" if folder.endswith(":/") else folder), name
