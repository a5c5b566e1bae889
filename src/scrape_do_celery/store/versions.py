"""The version of the records of runs, and the refusal of records that a newer version of this package wrote."""

from __future__ import annotations

from typing import Any

from scrape_do_celery.errors import NewerRecordError

#: The version of the records that this code writes, and the newest version that it reads. A record without the field
#: `v` has version 1. Raise the number if workers of an older version would harm the new records. Then these workers
#: leave them alone. A new field that older workers may ignore needs no new version.
RECORD_VERSION: int = 1
#: The first word of a script that refuses a newer record. The version of the record follows.
_NEWER = b"newer"


def version_fields() -> dict[str, int]:
    """Return the field of a new record that tells its version. Version 1 needs none, as each waiting run would pay."""
    return {} if RECORD_VERSION == 1 else {"v": RECORD_VERSION}


def refuse_newer(run_id: str, stored: bytes | None) -> None:
    """Refuse the record of a run by its field `v`, which is None if the record has no such field.

    Raises:
        NewerRecordError: a newer version of this package wrote the record.
    """
    if stored is not None and int(stored) > RECORD_VERSION:
        raise _newer_record_error(run_id, int(stored))


def refuse_newer_reply(run_id: str, reply: Any) -> None:
    """Refuse the reply of a script that has met a newer record. The reply may name another run than `run_id`.

    Raises:
        NewerRecordError: a newer version of this package wrote the record.
    """
    if isinstance(reply, list) and reply and reply[0] == _NEWER:
        _, stored, *named = reply
        raise _newer_record_error(named[0].decode() if named else run_id, int(stored))


def _newer_record_error(run_id: str, version: int) -> NewerRecordError:
    return NewerRecordError(
        f"run {run_id}: a newer version of scrape-do-celery wrote the record (version {version}; this process reads "
        f"version {RECORD_VERSION}), so nothing was read or changed: upgrade the package in this process",
        run_id,
        version,
    )
