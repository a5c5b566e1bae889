from __future__ import annotations

import json
import logging
import pickle
import traceback

import httpx
import pytest
from pydantic import SecretStr

from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient, ScrapeDoAsyncAPIClient, endpoints
from scrape_do_celery.client.responses import parse_response
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.rules.fetch import unusable_task
from scrape_do_celery.rules.webhook_tokens import PurchaseId, make_url

ECHOES = {
    "json": b'HTTP/1.1 400 No\r\nConnection: close\r\n\r\n{"Error":"bad token %s","Code":400}',
    "html": b"HTTP/1.1 502 No\r\nConnection: close\r\n\r\n<html>X-Token: %s</html>",
    "junk": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s",
    "shape": b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"JobID":[7],"Status":["%s"]}',
    "reset": b"",
    "protocol": b"%s\r\n\r\n",
}


@pytest.mark.parametrize("method", ["get_job", "create_job"])
@pytest.mark.parametrize("echo", ECHOES)
def test_the_token_is_nowhere(world, serve, caplog, echo, method):
    caplog.set_level(logging.DEBUG)

    def echoing(connection, _server):
        assert world.token.encode() in connection.recv(65536)
        connection.sendall(ECHOES[echo].replace(b"%s", world.token.encode()))

    arguments = {"job_id": "j1"} if method == "get_job" else {"targets": ["https://a.example/"]}
    shown = []

    def use(client):
        shown.extend([repr(client), str(client)])
        return getattr(client, method)(**arguments)

    with pytest.raises(ScrapeDoError) as caught:
        world.run(use, mock=False, base_url=serve(echoing).url, max_retries=0)
    error = caught.value
    while error is not None:
        shown.extend([repr(error), str(error), repr(vars(error)), *traceback.format_exception(error)])
        if isinstance(error, ScrapeDoError):
            shown.extend([repr(pickle.dumps(error)), json.dumps(error.to_json())])
            again = pickle.loads(pickle.dumps(error))
            assert (type(again), again.args) == (type(error), error.args)
        if isinstance(error, httpx.RequestError):
            shown.append(repr(error.request.headers))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert not [text for text in shown if world.token in text]
    # The only exception: httpcore's DEBUG log quotes an illegal status line as the peer sent it.
    assert world.token not in caplog.text or echo == "protocol"
    assert "send_request_headers.started" in caplog.text


@pytest.mark.parametrize("status", [200, 302, 404, 500])
@pytest.mark.parametrize(
    "body",
    [
        b'{"TaskID":"t","JobID":"j","WebhookURL":"%s","Content":"<p',
        b'{"TaskID":"t","JobID":"j","WebhookURL":"%s","Content":"\xff"}',
        b'{"Error":"webhook %s failed","Code":404}',
        b"<html>%s</html>",
    ],
)
def test_error_about_an_unreadable_task_does_not_show_its_webhook(body, status):
    url = make_url("https://shop.example/hooks", b"k" * 32, PurchaseId("r", 0, 1))
    with pytest.raises(ScrapeDoError) as caught:
        parse_response(endpoints.get_task("j", "t"), status, {}, body.replace(b"%s", url.encode()), secret="secret")
    stored = unusable_task("j", "t", "", caught.value)
    shown = [str(caught.value), json.dumps(caught.value.to_json()), str(stored.decoded_content()), repr(stored)]
    assert not [text for text in shown if url[-64:] in text]
    if stored.content:
        assert stored.decoded_content() == body.replace(b"%s", url[:-64].encode() + b"***")


@pytest.mark.parametrize("client", [ScrapeDoAsyncAPIClient, AsyncScrapeDoAsyncAPIClient])
@pytest.mark.parametrize("blank", [None, "", "  ", SecretStr(" "), "tok\u00e9n", "to\nken"], ids=repr)
def test_a_token_is_needed(client, blank, monkeypatch):
    monkeypatch.delenv("SCRAPE_DO_API_KEY", raising=False)
    with pytest.raises(ValueError, match="SCRAPE_DO_API_KEY"):
        client(blank)


def test_the_token_of_the_environment(world, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_API_KEY", " from-env\n")
    seen = []

    def answer(request):
        seen.append(request.headers["X-Token"])
        return httpx.Response(200, json={"ActiveJobs": 0})

    for given in (None, SecretStr("given")):
        with ScrapeDoAsyncAPIClient(given, transport=httpx.MockTransport(answer)) as client:
            client.get_user_info()
    assert seen == ["from-env", "given"]


@pytest.mark.parametrize("kind", [ScrapeDoAsyncAPIClient, AsyncScrapeDoAsyncAPIClient])
def test_client_buys_where_the_variable_says(monkeypatch, kind):
    """A user who has named a sandbox must not buy at Scrape.do."""
    monkeypatch.setenv("SCRAPE_DO_API_URL", "http://127.0.0.1:8787")
    assert repr(kind("t")) == f"{kind.__name__}(base_url='http://127.0.0.1:8787')"
    assert "https://other.example" in repr(kind("t", base_url="https://other.example"))
    monkeypatch.setenv("SCRAPE_DO_API_URL", "ftp://127.0.0.1")
    with pytest.raises(ValueError, match="SCRAPE_DO_API_URL must be http or https"):
        kind("t")
    monkeypatch.delenv("SCRAPE_DO_API_URL")
    assert "https://q.scrape.do" in repr(kind("t"))
