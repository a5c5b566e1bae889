"""The names of files that an export makes. No text of a page or a target is part of a name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from scrape_do_celery.export.rows import media_type

if TYPE_CHECKING:
    from scrape_do_celery.export.rows import ExportRow

#: The file that describes a finished export of a folder. It is written last.
MANIFEST: Final = "manifest.json"
#: The file that describes the shards of an export that goes on, or was interrupted.
UNFINISHED: Final = "unfinished.json"
_PART: Final = ".part"
_SHARD: Final = re.compile(r"shard-(\d{5,})\.[a-z.]{2,10}")
_PAGE: Final = re.compile(r"page-(\d{6,})\.[a-z]{2,4}")
_TEMPORARY: Final = re.compile(r"\..+\.[0-9a-f]{16}\.part")
#: Type of a page -> suffix of its file. A type that is absent here must not choose a suffix, such as that of a program.
_SUFFIXES: Final = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "md",
    "text/csv": "csv",
    "text/xml": "xml",
    "application/xml": "xml",
    "application/json": "json",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
}


def shard_name(number: int, suffix: str) -> str:
    """Return the name of a shard, from 1: `shard-00001.jsonl`."""
    return f"shard-{number:05d}{suffix}"


def page_name(row: ExportRow) -> str:
    """Return the name of a page's file, by the number of its row: `page-000001.html`."""
    media = media_type(row.content_type)
    plain = "txt" if row.page is not None and row.page.text is not None else "bin"
    return f"page-{row.number:06d}.{_SUFFIXES.get(media) or ('json' if media.endswith('+json') else plain)}"


def temporary_name(name: str, token: str) -> str:
    """Return the name under which a file is written before it is whole. `token` has 16 hexadecimal digits."""
    return f".{name}.{token}{_PART}"


def is_temporary(name: str) -> bool:
    """Return whether a name is that of a file which was not whole when its writer died."""
    return _TEMPORARY.fullmatch(name) is not None


def is_beyond(name: str, *, shards: int, rows: int) -> bool:
    """Return whether a name is that of a shard or a page behind these first shards and rows."""
    if found := _SHARD.fullmatch(name):
        return int(found[1]) > shards
    if found := _PAGE.fullmatch(name):
        return int(found[1]) > rows
    return False
