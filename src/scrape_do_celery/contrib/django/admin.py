"""Runs in Django's admin: list, filter, cancel, enqueue failed targets again, download; budgets; schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join

from scrape_do_celery.contrib.django import conf
from scrape_do_celery.contrib.django.budget_page import download_spend, show_budgets
from scrape_do_celery.contrib.django.live_waits import read_lineage, refresh_waits
from scrape_do_celery.contrib.django.models import ScrapeRun
from scrape_do_celery.contrib.django.name_filters import LabelFilter, TagFilter
from scrape_do_celery.contrib.django.schedule_page import show_schedules
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.export.rows import json_line, number_rows
from scrape_do_celery.export.writers import csv_fault, csv_header, csv_row
from scrape_do_celery.figures import format_figure
from scrape_do_celery.models.reasons import join_reasons, reasons_from_json
from scrape_do_celery.runs import retry_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern


class LiveChangeList(ChangeList):
    """A page of the list of runs, with the reasons why its live runs wait now."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows of the page, and then the reasons in one round trip."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        refresh_waits(self.result_list)


class ScrapeRunAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The admin of runs, which reads the mirror and acts on the runs themselves."""

    list_display = (
        "run_id",
        "label",
        "hosts",
        "state",
        "waits",
        "progress",
        "cost",
        "failures",
        "error_type",
        "created",
        "ended",
        "pages",
    )
    list_filter = ("state", LabelFilter, TagFilter, "error_type", "created")
    search_fields = ("run_id", "label", "tags", "error", "jobs")
    date_hierarchy = "created"
    actions = ("cancel", "retry", "download", "download_table")
    exclude = ("waiting_for", "reasons", "tags")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        """Return the list that reads from the store why its live runs wait."""
        return LiveChangeList

    def get_object(self, *args: Any, **kwargs: Any) -> ScrapeRun | None:
        """Return a run, with the reason why it waits now."""
        run: ScrapeRun | None = super().get_object(*args, **kwargs)
        if run is not None:
            refresh_waits([run])
        return run

    @admin.display(description="waiting for")
    def waits(self, run: ScrapeRun) -> str:
        """Return why a live run waits."""
        return run.waiting_for["text"] if run.waiting_for else ""

    @admin.display(description="tags")
    def tag_list(self, run: ScrapeRun) -> str:
        """Return the tags with commas between."""
        return ", ".join(run.tags or ())

    @admin.display(description="tasks")
    def progress(self, run: ScrapeRun) -> str:
        """Return the number of ended tasks and of all tasks."""
        failed = f", {run.failed:,} failed" if run.failed else ""
        return f"{run.done + run.failed:,} of {run.total:,}{failed}"

    @admin.display(description="reasons of failed tasks")
    def failures(self, run: ScrapeRun) -> str:
        """Return the reasons of failed tasks with their numbers."""
        return join_reasons(reasons_from_json(run.reasons))

    @admin.display(description="credits", ordering="credits")
    def cost(self, run: ScrapeRun) -> str:
        """Return the credits in digits."""
        return format_figure(run.credits)

    @admin.display(description="run and its children")
    def lineage(self, run: ScrapeRun) -> str:
        """Return links to the runs of the lineage, from the first run to the newest child."""
        links = [(reverse("admin:scrape_do_scraperun_change", args=[one]), one) for one in read_lineage(run.run_id)]
        return format_html_join(", ", '<a href="{}">{}</a>', links)

    @admin.display(description="pages")
    def pages(self, run: ScrapeRun) -> str:
        """Return a link to the fetched tasks."""
        return format_html('<a href="{}">download</a>', reverse("admin:scrape_do_scraperun_pages", args=[run.pk]))

    def get_urls(self) -> list[URLPattern]:
        """Return Django's own URLs, the URL to which `pages` links, and those of the budgets and the schedules."""
        guard = self.admin_site.admin_view
        return [
            path("budgets/", guard(self.budgets), name="scrape_do_scraperun_budgets"),
            path("budgets/spend.csv", guard(self.spend), name="scrape_do_scraperun_spend"),
            path("schedules/", guard(self.schedules), name="scrape_do_scraperun_schedules"),
            path("<path:run_id>/pages/", guard(self.pages_of), name="scrape_do_scraperun_pages"),
            *super().get_urls(),
        ]

    def budgets(self, request: HttpRequest) -> HttpResponse:
        """Return the page of budgets."""
        return show_budgets(self, request)

    def spend(self, request: HttpRequest) -> StreamingHttpResponse:
        """Return the costs of each day as CSV."""
        return download_spend(self, request)

    def schedules(self, request: HttpRequest) -> HttpResponse:
        """Return the page of schedules."""
        return show_schedules(self, request)

    def pages_of(self, request: HttpRequest, run_id: str) -> StreamingHttpResponse:
        """Return the fetched tasks of one run, in the format of `download`."""
        run = get_object_or_404(ScrapeRun, pk=run_id)
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        return stream_pages([run])

    @admin.action(description="Cancel runs, also at Scrape.do", permissions=["change"])
    def cancel(self, request: HttpRequest, runs: QuerySet[ScrapeRun]) -> None:
        """Request a stop of the runs. Pages that were paid for are still collected."""
        self._act_on_each(request, runs, "Runs that are being canceled", lambda run: run.handle.cancel())

    @admin.action(description="Enqueue the targets without a page again", permissions=["change"])
    def retry(self, request: HttpRequest, runs: QuerySet[ScrapeRun]) -> None:
        """Enqueue the targets without a page of each lineage as a new run. If such a run is live, start no other."""
        self._act_on_each(request, runs, "Runs enqueued again", lambda run: bool(retry_failed(run.run_id)))

    @admin.action(description="Download pages (JSON, one task per line)", permissions=["view"])
    def download(self, request: HttpRequest, runs: QuerySet[ScrapeRun]) -> StreamingHttpResponse:  # noqa: ARG002
        """Return a file with a line for each fetched task of the runs."""
        return stream_pages(list(runs))

    @admin.action(description="Download a table (CSV, without pages)", permissions=["view"])
    def download_table(self, request: HttpRequest, runs: QuerySet[ScrapeRun]) -> StreamingHttpResponse:  # noqa: ARG002
        """Return a file for spreadsheets, with a line for each fetched task of the runs."""
        return stream_lines(table_lines(list(runs)), "text/csv", "scrapes.csv")

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Return False, because runs are enqueued, not typed in."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:  # noqa: ARG002
        """Return all fields, because users must not write to the mirror."""
        fields = [field.name for field in ScrapeRun._meta.fields]  # noqa: SLF001 (Django's documented way)
        shown = {"waiting_for": "waits", "reasons": "failures", "tags": "tag_list"}
        return [*(shown.get(name, name) for name in fields), "lineage"]

    def _act_on_each(
        self, request: HttpRequest, runs: Iterable[ScrapeRun], done: str, act: Callable[[ScrapeRun], bool]
    ) -> None:
        count = 0
        for run in runs:
            try:
                count += act(run)
            except ScrapeDoError as error:
                messages.warning(request, f"{run.run_id}: {error}")
        messages.info(request, f"{done}: {count}")


def stream_lines(lines: Iterator[bytes], content_type: str, name: str) -> StreamingHttpResponse:
    """Return a file that a browser saves. The file is written while the runs are read."""
    answer = StreamingHttpResponse(lines, content_type=content_type)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def stream_pages(runs: Iterable[ScrapeRun]) -> StreamingHttpResponse:
    """Return the pages of the runs as a file of JSON lines."""
    return stream_lines(page_lines(runs), "application/x-ndjson", "scrapes.jsonl")


def page_lines(runs: Iterable[ScrapeRun]) -> Iterator[bytes]:
    """Yield each fetched task of the runs as a line of JSON, with few tasks in memory at a time."""
    for run in runs:
        try:
            for row in number_rows(run.run_id, run.handle.iter_tasks(partial=True)):
                yield json_line(row.to_json())
        except ScrapeDoError as error:
            yield json_line({"run_id": run.run_id, "error": type(error).__name__, "message": str(error)})


def table_lines(runs: Iterable[ScrapeRun]) -> Iterator[bytes]:
    """Yield each fetched task of the runs as a line of CSV without its page, with few tasks in memory at a time."""
    yield csv_header(with_content=False)
    for run in runs:
        try:
            for row in number_rows(run.run_id, run.handle.iter_tasks(partial=True)):
                yield csv_row(row, with_content=False)
        except ScrapeDoError as error:
            yield csv_fault(run.run_id, f"{type(error).__name__}: {error}")


if cast("bool", conf.read_option("MIRROR")):
    admin.site.register(ScrapeRun, ScrapeRunAdmin)
