"""The format WARC, by warcio: a `resource` record for each page, and a `metadata` record for each row.

The API folds headers and decodes content, so a `response` record would claim an exchange that nobody saw.
"""

from __future__ import annotations

import io
import uuid
from datetime import UTC
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from scrape_do_celery.export.extras import load_extra
from scrape_do_celery.export.rows import json_line, media_type

if TYPE_CHECKING:
    from datetime import datetime

    from scrape_do_celery.export.rows import ExportRow
    from scrape_do_celery.export.writers import OutputFile, WriterOptions

#: Characters of a URL that stay. All others are percent-encoded, so that no text of a target can begin a header.
_URL: Final = "%/:?#[]@!$&'()*+,;=~"
_TYPE: Final = "abcdefghijklmnopqrstuvwxyz0123456789!#$&-^_.+/"
_IDS: Final = uuid.UUID("8f1b6c1e-3a0e-4c51-9a5b-6f0d6e2b7c44")


class WarcWriter:
    """A writer of compressed records."""

    def __init__(self, file: OutputFile, options: WriterOptions) -> None:
        self._writer = load_extra("warcio.warcwriter", "warc").WARCWriter(file, gzip=True, warc_version="WARC/1.1")
        self._options = options
        fields = {"software": "scrape-do-celery", "format": "WARC File Format 1.1", "isPartOf": quote(options.run_id)}
        text = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._write("warcinfo", 0, "application/warc-fields", text.encode(), {"WARC-Date": _format(options.time)})

    def write(self, row: ExportRow) -> None:
        """Write the page of a row, and its facts."""
        about = {"WARC-Target-URI": target_uri(row), "WARC-Date": _format(row.end_time or self._options.time)}
        if row.page is not None:
            page_id = self._write("resource", row.number, page_type(row), row.page.data, about)
            about["WARC-Concurrent-To"] = page_id
        facts = json_line(row.to_json(with_content=False))
        self._write("metadata", row.number, "application/json", facts, about)

    def close(self) -> None:
        """Do nothing, because each record ends itself."""

    def _write(self, kind: str, number: int, media: str, content: bytes, about: dict[str, str]) -> str:
        # Equal rows give equal files, so that two exports at once agree about the digest of a shard.
        record_id = f"<urn:uuid:{uuid.uuid5(_IDS, f'{self._options.run_id}/{kind}/{number}')}>"
        record = self._writer.create_warc_record(
            about.get("WARC-Target-URI", ""),
            kind,
            payload=io.BytesIO(content),
            length=len(content),
            warc_content_type=media,
            warc_headers_dict={"WARC-Record-ID": record_id, **about},
        )
        self._writer.write_record(record)
        return record_id


def _format(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def target_uri(row: ExportRow) -> str:
    """Return the URI of a page. A target that is no URL, as of a plugin, is named by the ids of its task."""
    if row.url.lower().startswith(("http://", "https://")):
        return quote(row.url, safe=_URL)
    return f"urn:scrape-do:{quote(row.job_id, safe='')}:{quote(row.task_id, safe='')}"


def page_type(row: ExportRow) -> str:
    """Return the type of a page without characters that a header cannot hold."""
    media = media_type(row.content_type)
    if not media or set(media) - set(_TYPE):
        return "application/octet-stream"
    return media
