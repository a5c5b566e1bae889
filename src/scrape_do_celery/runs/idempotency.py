"""Check idempotency keys, and name the differences if a key belongs to another request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import EncryptionKeyError, IdempotencyConflictError
from scrape_do_celery.models.sendable import why_no_text
from scrape_do_celery.store.commands.runs import ReadRun, ReadSpec

if TYPE_CHECKING:
    from scrape_do_celery.store import RunSpec, Store
    from scrape_do_celery.store.commands.creation import Created


def check_key(key: str | None) -> str | None:
    """Return the key, or None.

    Raises:
        ValueError: the key is not a text, is blank, or cannot be encoded.
    """
    if key is not None and (not isinstance(key, str) or not key.strip()):
        raise ValueError("idempotency_key must be a str that is not blank, or None")
    if key is not None and (fault := why_no_text(key)):
        raise ValueError(f"idempotency_key {fault}")
    return key


def is_conflict(created: Created, spec: RunSpec) -> bool:
    """Return whether the run with this key or id has another request."""
    return not created.new and created.digest != spec.digest


def conflict_error(store: Store, run_id: str, spec: RunSpec) -> IdempotencyConflictError:
    """Return the error for a key of the run `run_id`. Its text names the fields in which `spec` differs."""
    record = store.run(ReadRun(run_id))
    try:
        theirs = store.run(ReadSpec(run_id, len(record.parts))) if record else None
    except EncryptionKeyError as error:
        # The other request cannot be read here. Its digest still proves that the requests differ.
        return IdempotencyConflictError(f"the key belongs to run {run_id}, with another request: {error}", run_id)
    fields = spec.differing_fields(theirs) if theirs else ()
    what = f"the requests differ in {', '.join(fields)}" if fields else "the record of the run is gone"
    return IdempotencyConflictError(f"the key belongs to run {run_id}, with another request: {what}", run_id, fields)
