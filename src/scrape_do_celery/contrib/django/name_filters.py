"""Filters of the admin's list of runs: by label and by tag."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest

    from scrape_do_celery.contrib.django.models import ScrapeRun

#: Runs whose names are offered, the newest ones; names that are offered, the most frequent ones.
_LOOKED_AT: Final = 1_000
_OFFERED: Final = 50


class _NameFilter(admin.SimpleListFilter):
    """A filter by a name of runs. A table may have very many names, so the list offers those of the newest runs."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the names to offer, each with its text. The name that is chosen now is among them."""
        rows = model_admin.get_queryset(request).order_by("-created").values_list(self.field, flat=True)[:_LOOKED_AT]
        counted = Counter(name for row in rows for name in self.names_of(row))
        found = {name for name, _ in counted.most_common(_OFFERED)}
        found |= {name for name in [self.value()] if name}
        return [(name, name) for name in sorted(found)]

    #: the column that has the names
    field: str

    def names_of(self, row: Any) -> Iterable[str]:
        """Return the names in a value of the column."""
        raise NotImplementedError


class LabelFilter(_NameFilter):
    """The filter by label."""

    title = "label"
    parameter_name = field = "label"

    def names_of(self, row: Any) -> Iterable[str]:
        """Return the label, if the run has one."""
        return [row] if row else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[ScrapeRun]) -> QuerySet[ScrapeRun]:  # noqa: ARG002
        """Return the runs with the chosen label."""
        return queryset.filter(label=self.value()) if self.value() else queryset


class TagFilter(_NameFilter):
    """The filter by tag."""

    title = "tag"
    parameter_name = "tag"
    field = "tags"

    def names_of(self, row: Any) -> Iterable[str]:
        """Return the tags of a run."""
        return row or []

    def queryset(self, request: HttpRequest, queryset: QuerySet[ScrapeRun]) -> QuerySet[ScrapeRun]:  # noqa: ARG002
        """Return the runs with the chosen tag."""
        tag = self.value()
        if not tag:
            return queryset
        if connections[queryset.db].features.supports_json_field_contains:
            return queryset.filter(tags__contains=[tag])
        # SQLite and Oracle cannot look into a list of JSON.
        rows = queryset.exclude(tags=None).values_list("pk", "tags")
        return queryset.filter(pk__in=[pk for pk, tags in rows.iterator() if tag in tags])
