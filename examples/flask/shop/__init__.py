"""A shop that monitors pages: a form starts a run, and a page shows its progress."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Flask, abort, jsonify, redirect, render_template, request, url_for

from scrape_do_celery import RunHandle, RunNotFoundError, enqueue
from scrape_do_celery.contrib.flask import ScrapeDo
from shop.background import celery_init_app

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379")


def create_app() -> Flask:
    """Create the application. Only the worker's environment has the token, SCRAPE_DO_API_KEY."""
    app = Flask(__name__)
    app.config.from_mapping(
        CELERY={
            "broker_url": f"{REDIS}/1",
            "result_backend": f"{REDIS}/2",
            "broker_connection_retry_on_startup": True,
            "worker_prefetch_multiplier": 1,
            "worker_send_task_events": True,
        },
        SCRAPE_DO={"REDIS_URL": f"{REDIS}/0"},
    )
    celery_init_app(app)
    ScrapeDo(app)
    _add_pages(app)
    return app


def _add_pages(app: Flask) -> None:
    @app.before_request
    def refuse_other_sites() -> None:
        """Refuse forms on the pages of other sites, because this application would pay for their scrapes."""
        headers = request.headers
        # Browsers send Sec-Fetch-Site. If the browser is too old or the address is plain HTTP, Origin names the site.
        here = urlsplit(headers.get("Origin", request.host_url)).netloc == request.host
        site = headers.get("Sec-Fetch-Site", "same-origin" if here else "cross-site")
        if request.method == "POST" and site not in ("same-origin", "none"):
            abort(403)

    @app.get("/")
    def start() -> str:
        return render_template("start.html")

    @app.post("/")
    def scrape() -> Response | tuple[str, int]:
        urls = request.form.get("urls", "").split()
        try:
            handle = enqueue(urls)
        except ValueError as error:
            return render_template("start.html", urls="\n".join(urls), error=error), 400
        return redirect(url_for("run", run_id=handle.run_id))

    @app.get("/runs/<run_id>/")
    def run(run_id: str) -> str:
        return render_template("run.html", run_id=run_id)

    @app.get("/runs/<run_id>/status")
    def status(run_id: str) -> Any:
        handle = RunHandle(run_id)
        try:
            found = handle.status.to_json()
        except RunNotFoundError:
            return jsonify(error="no such run"), 404
        # The page's script polls twice a second, so contents are read once, when the run has ended.
        tasks = handle.iter_tasks(partial=True) if found["has_ended"] else ()
        return jsonify(found | {"pages": [{"url": task.url, "length": len(task.content or "")} for task in tasks]})
