"""Check the arguments that start a run, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.models.sendable import SAID, why_no_text
from scrape_do_celery.store import RunSpec


def read_spec(
    targets: Iterable[str] | JobCreationRequest | None = None,
    *,
    raise_on_task_failure: bool = False,
    max_wait: float | None = None,
    early: bool | None = None,
    **options: Any,
) -> RunSpec:
    """Return the checked request and options of a run.

    Raises:
        ValueError: a field is wrong.
    """
    if isinstance(targets, JobCreationRequest):
        if options:
            raise ValueError(f"{', '.join(sorted(options))}: set in the JobCreationRequest, not beside it")
        # The request is checked again: a copy of a model may have fields that were never checked.
        request = JobCreationRequest.model_validate(targets, context=SAID)
        return RunSpec(request, raise_on_task_failure, max_wait, early)
    if targets is not None:
        options["targets"] = targets
    return RunSpec(JobCreationRequest(**options), raise_on_task_failure, max_wait, early)


def check_key(key: str | None) -> str | None:
    """Return the key, or None.

    Raises:
        ValueError: the key is not a text, is blank, or cannot be encoded.
    """
    if key is not None and (not isinstance(key, str) or not key.strip()):
        raise ValueError("idempotency_key must be a text that is not blank, or None")
    if key is not None and (fault := why_no_text(key)):
        raise ValueError(f"idempotency_key {fault}")
    return key


def each_request(requests: Any) -> Iterable[Any]:
    """Return the requests as they are, so that the caller reads them one by one.

    A list of a hundred thousand requests would hold all of them in memory at once.

    Raises:
        ValueError: `requests` is one request, or no ordered iterable.
    """
    if isinstance(requests, JobCreationRequest | str | bytes | Mapping | AbstractSet) or not isinstance(
        requests, Iterable
    ):
        raise ValueError(f"requests must be a list of requests, not {type(requests).__name__}")  # noqa: TRY004
    return requests
