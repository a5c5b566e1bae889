"""A form that starts a run, and the run's progress, which the page polls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods
from tasks.tasks import save_titles

from pages.models import Title
from scrape_do_celery import RunHandle, RunNotFoundError, enqueue

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


@require_http_methods(["GET", "POST"])
def start(request: HttpRequest) -> HttpResponse:
    """Start a run with the URLs of the form, one on each line."""
    # A URL that occurs twice is one page.
    urls = list(dict.fromkeys(request.POST.get("urls", "").split()))
    if request.method == "GET":
        return render(request, "pages/start.html")
    try:
        # Each request is a transaction (ATOMIC_REQUESTS), so the run starts when this one is committed.
        handle = enqueue(urls, on_success=save_titles.s())
    except ValueError as error:
        return render(request, "pages/start.html", {"urls": "\n".join(urls), "error": str(error)}, status=400)
    return redirect("run", handle.run_id)


@require_GET
def run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Show the page of a run."""
    return render(request, "pages/run.html", {"run_id": run_id})


@require_GET
def status(request: HttpRequest, run_id: str) -> JsonResponse:  # noqa: ARG001
    """Return the status of a run to the page's script."""
    try:
        found = RunHandle(run_id).status.to_json()
    except RunNotFoundError:
        return JsonResponse({"error": "no such run"}, status=404)
    titles = Title.objects.filter(run_id=run_id).values("url", "text")
    return JsonResponse({**found, "titles": list(titles)})
