"""The blueprint that receives webhooks: `ScrapeDo(app, webhooks="/hooks")`, or register it yourself.

Each path below the prefix of the blueprint is taken. A path that belongs to no purchase is answered with 403. The
functions of your application that run before each request also run before this view: let its calls pass them without a
login. With Flask-WTF, write `csrf.exempt(blueprint)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from scrape_do_celery.webhooks import wsgi

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.blueprints import BlueprintSetupState

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_REST: Final = "scrape_do_rest"

blueprint = Blueprint("scrape_do_webhooks", __name__)


def receive_webhook(rest: str) -> Response:  # noqa: ARG001 (the whole path counts)
    """Answer a call of a webhook."""
    answer = wsgi.answer_call(request.method, request.path, wsgi.read_headers(request.environ), _open_body())
    return Response(answer.text, answer.status, answer.headers, mimetype="text/plain")


def _open_body() -> Callable[[int], bytes]:
    if "stream" in vars(request):
        # The application may have read the body before. Flask's stream knows its end; the server's may wait forever.
        return request.stream.read
    # Not Flask's stream: it obeys MAX_CONTENT_LENGTH, and answers 413.
    return wsgi.open_body(request.environ)


class _RestConverter(BaseConverter):
    """The rest of a path, also if it is empty or begins with a slash. Flask's own converter answers 404 then."""

    part_isolating = False
    regex = ".*?"
    weight = 300


@blueprint.record
def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters[_REST] = _RestConverter


# Neither a missing nor a doubled slash may redirect: Scrape.do may follow the redirect with GET.
blueprint.add_url_rule(
    f"/<{_REST}:rest>",
    view_func=receive_webhook,
    methods=_METHODS,
    provide_automatic_options=False,
    strict_slashes=False,
    merge_slashes=False,
)
