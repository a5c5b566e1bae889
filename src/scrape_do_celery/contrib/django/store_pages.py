"""Read the store for a page of Django's admin. The page must open while the store is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages

from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.store.deadlines import limited_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

#: Seconds for the answers of the store.
_TIME: Final = 5.0


def read_for_page(request: HttpRequest, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `read` finds, with `is_read`. If the store does not answer, tell the user, and return nothing."""
    try:
        with limited_time(_TIME):
            return {"is_read": True, **read()}
    except StoreUnavailableError as error:
        messages.error(request, str(error))
        return {}
