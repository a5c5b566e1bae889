"""Check idempotency keys, and name the differences if a key belongs to another request."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Final

from scrape_do_celery.errors import EncryptionKeyError, IdempotencyConflictError, NewerRecordError, ResultExpiredError
from scrape_do_celery.models.sendable import why_no_name
from scrape_do_celery.store.commands.runs import ReadRun, ReadSpec

if TYPE_CHECKING:
    from scrape_do_celery.store import RunSpec, Store
    from scrape_do_celery.store.commands.creation import Created

#: Ids that are safe within the names of keys and parts.
_RUN_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def check_key(key: str | None) -> str | None:
    """Return the key, or None.

    Raises:
        ValueError: the key is not a text, is blank, is too long, or cannot be encoded.
    """
    if key is not None and (not isinstance(key, str) or not key.strip()):
        raise ValueError("idempotency_key must be a str that is not blank, or None")
    if key is not None and (fault := why_no_name(key)):
        raise ValueError(f"idempotency_key {fault}")
    return key


def check_run_id(run_id: str | None) -> str:
    """Return the id, or a new one.

    Raises:
        ValueError: no call of `enqueue` can have made the id.
    """
    if run_id is None:
        return str(uuid.uuid4())
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise ValueError(
            "run_id must be 1 to 128 letters, digits, dots, dashes or underscores, such as a UUID; or None"
        )
    return run_id


def is_conflict(created: Created, spec: RunSpec) -> bool:
    """Return whether the run with this key or id has another request."""
    return not created.new and created.digest != spec.digest


def conflict_error(store: Store, run_id: str, spec: RunSpec, *, is_own_id: bool = False) -> IdempotencyConflictError:
    """Return the error for a key or the id of a run. Its text names the fields in which `spec` differs."""
    owner = f"the {'id' if is_own_id else 'key'} belongs to run {run_id}"
    try:
        record = store.run(ReadRun(run_id))
        theirs = store.run(ReadSpec(run_id, record.part_count)) if record else None
    except (EncryptionKeyError, NewerRecordError, ResultExpiredError) as error:
        # The other request cannot be read here. Its digest still proves that the requests differ.
        return IdempotencyConflictError(f"{owner}, with another request: {error}", run_id)
    if record is None or theirs is None:
        return IdempotencyConflictError(f"{owner}, with another request: the record of the run is gone", run_id)
    fields = spec.differing_fields(theirs)
    if not fields:
        # The digests are those of two versions. The caller can still use the run that was paid for.
        return IdempotencyConflictError(
            f"{owner}, and no field differs: another version of this package wrote it; read run {run_id}, or use "
            "another key or id",
            run_id,
        )
    what = f"the requests differ in {', '.join(fields)}"
    return IdempotencyConflictError(f"{owner}, with another request: {what}", run_id, fields)
