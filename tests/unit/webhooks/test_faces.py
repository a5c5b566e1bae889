"""Test the faces of WSGI, ASGI and Flask without a server. The long suite plays all faces in real servers."""

from __future__ import annotations

import asyncio
import io

import pytest
from flask import Flask, request
from webhook_receivers import BASE_URL, KEY, make_bomb

from scrape_do_celery import routing
from scrape_do_celery.contrib.flask import ScrapeDo
from scrape_do_celery.rules.webhook_tokens import PurchaseId, make_url
from scrape_do_celery.store.commands.runs import ForgetRun
from scrape_do_celery.webhooks import asgi, wsgi

OK = (200, "ok")
FORGED = "/hooks/0f0e0d0c-1111-4222-8333-444455556666-0-1-" + "0" * 64


def call_wsgi(app, path, body, method, headers, **environ):
    seen = []
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": path.rpartition("/")[0],
        "PATH_INFO": "/" + path.rpartition("/")[2],
        "wsgi.input": io.BytesIO(body + b"the next request"),
        "CONTENT_LENGTH": str(len(body)),
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
        **environ,
    }
    text = b"".join(app(environ, lambda status, headers: seen.append((status, headers))))
    [(status, sent)] = seen
    assert dict(sent)["Content-Length"] == str(len(text))
    return int(status.split()[0]), text.decode(), dict(sent)


def call_asgi(app, path, body, method, headers, *, messages=None, scope="http"):
    sent = []
    chunks = [body[start : start + 1_000] for start in range(0, len(body), 1_000)] or [b""]
    events = iter(
        messages or [{"type": "http.request", "body": one, "more_body": one is not chunks[-1]} for one in chunks]
    )

    async def receive():
        event = next(events)
        return await event if asyncio.iscoroutine(event) else event

    async def send(message):
        sent.append(message)

    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(app({"type": scope, "method": method, "path": path, "headers": encoded}, receive, send))
    if scope != "http":
        return sent
    start, end = sent
    given = {name.decode().title(): value.decode() for name, value in start["headers"]}
    return start["status"], end["body"].decode(), given


def call_flask(app, path, body, method, headers):
    answer = app.test_client().open(path, method=method, data=body, headers=headers)
    return answer.status_code, answer.text, dict(answer.headers)


def make_flask():
    app = Flask("shop")
    app.config["MAX_CONTENT_LENGTH"] = 10
    ScrapeDo(app, webhooks="/hooks")
    return app


FACES = {
    "wsgi": (wsgi.WebhookApp, call_wsgi),
    "asgi": (asgi.WebhookApp, call_asgi),
    "flask": (make_flask, call_flask),
}


@pytest.fixture(params=list(FACES))
def call(request, harness, monkeypatch):
    make, send = FACES[request.param]
    if request.param == "flask":
        # `ScrapeDo` gives the process the settings of the application's config.
        monkeypatch.setattr("scrape_do_celery.contrib.flask.settings_dict.settings_of", lambda _: harness.settings)
    app = make()

    def ask(path, body=b"", *, method="POST", **headers):
        return send(app, path, body, method, {name.replace("_", "-"): value for name, value in headers.items()})

    return ask


def test_page_is_stored_and_hint_wakes_a_step(call, part, harness):
    assert call(part.path, part.body(), **part.secret)[:2] == OK
    assert part.stored == {0}
    assert call(f"{part.path}/", part.body(1))[:2] == OK
    assert (part.stored, part.entries["1"]) == ({0}, "hint")
    assert harness.step_messages()[-1] == (routing.POLL_JOBS, [str(part.part_id)])


def test_forged_call_is_refused_without_a_look_at_the_store(call, part, harness):
    harness.server.connected = False
    for method, path in (("POST", FORGED), ("GET", FORGED), ("POST", "/hooks/"), ("POST", "/hooks//x//")):
        assert call(path, part.body(), method=method)[:2] == (403, "this is not the webhook of a purchase")


def test_other_method_is_refused(call, part):
    status, _, headers = call(part.path, part.body(), method="PUT", **part.secret)
    assert (status, headers["Allow"]) == (405, "POST")


def test_large_body_and_bomb_are_hints(call, part):
    for body, encoding in ((part.body(content="x" * 4_500_000), ""), (make_bomb(10_000_000), "gzip")):
        assert call(part.path, body, Content_Encoding=encoding, **part.secret)[:2] == OK
    assert part.stored == set()


def test_store_that_is_away_puts_the_delivery_off(call, part, harness, caplog):
    harness.server.connected = False
    status, _, headers = call(part.path, part.body(content="<secret>"), **part.secret)
    assert (status, headers["Retry-After"]) == (503, "5")
    assert "webhooks are answered with 503" in caplog.text
    harness.server.connected = True
    assert call(part.path, part.body(), **part.secret)[:2] == OK
    assert part.stored == {0}


def test_unexpected_error_puts_the_delivery_off_and_shows_no_body(call, part, harness, caplog):
    # The key has another type, as if somebody else had written it.
    harness.redis.set(harness.keys.deliveries(part.part_id), "x")
    for headers in ({}, part.secret):
        assert call(part.path, part.body(content="<secret>"), **headers)[0] == 503
    assert "WrongType" in caplog.text or "ResponseError" in caplog.text
    assert "<secret>" not in caplog.text
    assert part.path[-64:] not in caplog.text
    harness.redis.delete(harness.keys.deliveries(part.part_id))


def test_missing_keys_put_calls_off_and_are_told(call, part, harness, caplog):
    harness.app_context.settings = harness.settings = harness.settings.model_copy(update={"webhook_keys": None})
    assert call(part.path, part.body(), **part.secret)[0] == 503
    assert "SCRAPE_DO_WEBHOOK_KEYS is not set" in caplog.text


def test_forgotten_run_is_answered_with_200(call, part, harness):
    harness.finish_part(part.part_id.run_id)
    assert call(part.path, part.body(), **part.secret)[:2] == OK
    harness.run(ForgetRun(part.part_id.run_id))
    path = make_url(BASE_URL, KEY, PurchaseId("another", 7, 1)).removeprefix("https://shop.example")
    for one in (part.path, path):
        assert call(one, part.body(), **part.secret)[:2] == OK
    assert part.stored == set()


# WSGI


def test_wsgi_body_without_a_length_is_read_if_the_server_ends_the_stream(part):
    stream = io.BytesIO(part.body())
    options = {"CONTENT_LENGTH": "", "wsgi.input": stream}
    secret = {name.replace("_", "-"): value for name, value in part.secret.items()}
    assert call_wsgi(wsgi.app, part.path, b"", "POST", secret, **options)[:2] == OK
    assert (part.stored, stream.tell()) == (set(), 0)
    assert call_wsgi(wsgi.app, part.path, b"", "POST", secret, **options, **{"wsgi.input_terminated": True})[0] == 200
    assert part.stored == {0}


def test_broken_wsgi_stream_makes_a_hint(part, harness):
    class Broken(io.BytesIO):
        def read(self, _):
            raise OSError("the sender is gone")

    options = {"wsgi.input": Broken(), "wsgi.input_terminated": True}
    assert call_wsgi(wsgi.app, part.path, b"x", "POST", {}, **options)[:2] == OK
    assert harness.step_messages() == [(routing.POLL_JOBS, [str(part.part_id)])]


# Flask


@pytest.mark.parametrize("reads_all", [True, False])
def test_flask_body_that_the_application_has_read_is_not_awaited_again(part, harness, monkeypatch, reads_all):
    monkeypatch.setattr("scrape_do_celery.contrib.flask.settings_dict.settings_of", lambda _: harness.settings)
    app, body = make_flask(), part.body()
    app.config["MAX_CONTENT_LENGTH"] = None

    @app.before_request
    def read_body():
        assert not request.form
        if reads_all:
            assert request.get_data() == body

    stream = io.BytesIO(body + b"the next request")
    server = {"SERVER_NAME": "x", "SERVER_PORT": "80", "wsgi.url_scheme": "http", "SCRIPT_NAME": ""}
    options = {**server, "PATH_INFO": part.path, "CONTENT_TYPE": "application/json", "wsgi.input": stream}
    assert call_wsgi(app, part.path, body, "POST", {}, **options)[:2] == OK
    assert stream.tell() == len(body)
    assert harness.step_messages() == [(routing.POLL_JOBS, [str(part.part_id)])]


# ASGI


def test_asgi_sender_that_is_gone_makes_a_hint(part):
    messages = [{"type": "http.request", "body": part.body(1)[:5], "more_body": True}, {"type": "http.disconnect"}]
    assert call_asgi(asgi.app, part.path, b"", "POST", part.secret, messages=messages)[:2] == OK
    assert part.stored == set()


def test_slow_asgi_sender_makes_a_hint(part):
    async def never():
        await asyncio.sleep(60)

    app = asgi.WebhookApp(body_seconds=0.05)
    messages = [{"type": "http.request", "body": part.body(1)[:5], "more_body": True}, never()]
    assert call_asgi(app, part.path, b"", "POST", part.secret, messages=messages)[:2] == OK


def test_asgi_server_learns_of_wrong_settings_when_it_starts(harness):
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    ask = {"path": "", "body": b"", "method": "", "headers": {}, "scope": "lifespan"}
    done = call_asgi(asgi.app, **ask, messages=messages)
    assert [one["type"] for one in done] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    harness.app_context.settings = harness.settings.model_copy(update={"webhook_keys": None})
    harness.app.__dict__.pop("scrape_do_webhook_service")
    [failed] = call_asgi(asgi.app, **ask, messages=messages)
    assert (failed["type"], "SCRAPE_DO_WEBHOOK_KEYS" in failed["message"]) == ("lifespan.startup.failed", True)


def test_websocket_is_closed(harness):
    ask = {"path": FORGED, "body": b"", "method": "", "headers": {}, "scope": "websocket"}
    assert call_asgi(asgi.app, **ask) == [{"type": "websocket.close"}]
