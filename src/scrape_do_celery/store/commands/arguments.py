"""Arguments and replies that commands of several subjects share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.store.command import Value

#: The cursor that begins a scan. A scan that is complete returns the same cursor.
START = "0"


def flatten_fields(fields: Mapping[str, Value]) -> list[Value]:
    """Return names and values in turn, as scripts take them."""
    return [one for pair in fields.items() for one in pair]


def decode_names(reply: Sequence[bytes]) -> list[str]:
    """Return the texts of a reply."""
    return [name.decode() for name in reply]
