"""The blueprint that receives webhooks: `ScrapeDo(app, webhooks="/hooks")`, or register it yourself.

Each path below the prefix of the blueprint is taken. A path that belongs to no purchase is answered with 403. The
functions of your application that run before each request also run before this view: let its calls pass them without a
login. With Flask-WTF, write `csrf.exempt(blueprint)`.
"""

from __future__ import annotations

from flask import Blueprint, Response, request

from scrape_do_celery.webhooks import wsgi

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

blueprint = Blueprint("scrape_do_webhooks", __name__)


def receive_webhook(path: str) -> Response:  # noqa: ARG001 (the whole path counts)
    """Answer a call of a webhook."""
    # Not `request.stream`: it obeys MAX_CONTENT_LENGTH, and answers 413.
    answer = wsgi.answer_call(
        request.method, request.path, wsgi.read_headers(request.environ), wsgi.open_body(request.environ)
    )
    return Response(answer.text, answer.status, answer.headers, mimetype="text/plain")


# Neither a missing nor a doubled slash may redirect: Scrape.do may follow the redirect with GET.
blueprint.add_url_rule(
    "/<path:path>",
    view_func=receive_webhook,
    methods=_METHODS,
    provide_automatic_options=False,
    strict_slashes=False,
    merge_slashes=False,
)
