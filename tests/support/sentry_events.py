"""Sentry's SDK with default settings, and a transport that appends each event to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import sentry_sdk
from sentry_sdk.transport import Transport

if TYPE_CHECKING:
    from sentry_sdk.envelope import Envelope


class FileTransport(Transport):
    """A transport to the file that the DSN's path names in the options."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Append each item of an envelope as a line."""
        with Path(self.options["server_name"]).open("a", encoding="utf-8") as file:
            for item in envelope.items:
                event = item.payload.json or item.payload.get_bytes().decode("utf-8", "replace")
                file.write(json.dumps(event) + "\n")


def record_events(file: str) -> None:
    """Start the SDK as its documentation shows it. `server_name` only carries the name of the file."""
    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=FileTransport, server_name=file)
