"""Check the arguments of `enqueue_many`: the requests, and the values that are given for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.models.concerns import GatheredConcerns
from scrape_do_celery.models.sendable import as_list
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.options import RUN_OPTIONS, refuse_second_targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.options import EnqueueOptions


def one_for_each(specs: Sequence[RunSpec], given: Any, name: str, what: str) -> Sequence[Any]:
    """Return the value of each spec; None for each if none are given.

    Raises:
        ValueError: the number of values is another than that of the specs.
    """
    values = as_list(given, name, what)
    if values is not None and len(values) != len(specs):
        raise ValueError(
            f"{name} has {len(values)} entries for {len(specs)} requests; pass one entry for each request, or None"
        )
    return [None] * len(specs) if values is None else values


def read_specs(requests: Any, keywords: Sequence[str], options: EnqueueOptions) -> list[RunSpec]:
    """Return the checked spec of each request. `keywords` are the other arguments of the call.

    Raises:
        ValueError: a request is wrong, or `requests` is one request or has no order.
    """
    if isinstance(requests, BaseModel | str | bytes | Mapping | AbstractSet) or not isinstance(requests, Iterable):
        raise ValueError(f"requests must be a list of requests, not {type(requests).__name__}")  # noqa: TRY004
    JobCreationRequest.refuse_unknown(options, (*RUN_OPTIONS, *keywords))
    refuse_second_targets(options)
    specs: list[RunSpec] = []
    # Read the requests one by one: a list of a hundred thousand would hold all of them in memory at once.
    with GatheredConcerns():
        for index, request in enumerate(requests):
            try:
                specs.append(RunSpec.from_arguments(request, keywords, **options))
            except ValueError as error:
                raise ValueError(f"request {index}: {error}") from None
    return specs
