"""Test workers' three transports behind an egress proxy and a TLS inspection, with real sockets and a private CA."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import traceback
from contextlib import ExitStack

import pytest
import trustme
from tcp_proxies import ConnectProxy, TlsProxy

from scrape_do_celery import AsyncScrapeDoAsyncAPIClient, JobCreationRequest, ScrapeDoAsyncAPIClient
from scrape_do_celery.client import SubmitFailure, classify_submit_error
from scrape_do_celery.client.pooled_reads import PooledReadTransport
from scrape_do_celery.client.routes import read_route, ssl_context
from scrape_do_celery.config.settings import SettingsError
from scrape_do_celery.errors import APIConnectionError, SubmitInDoubtError

REQUEST = JobCreationRequest(targets=["https://a.example/"])
USER, PASSWORD = "worker", "pass word@1"
USERINFO = "worker:pass%20word%401"
SECRETS = (PASSWORD, "pass%20word%401", "d29ya2VyOnBhc3Mgd29yZEAx")
BLOCKING, SUBMITTING, READING = "blocking", "submitting", "reading"
WRITERS = pytest.mark.parametrize("kind", [BLOCKING, SUBMITTING])
ALL = pytest.mark.parametrize("kind", [BLOCKING, SUBMITTING, READING])


@pytest.fixture
def egress():
    with ConnectProxy(users=f"{USER}:{PASSWORD}") as proxy:
        yield proxy


@pytest.fixture
def inspected(sandbox, tmp_path):
    """Return the sandbox behind TLS with a certificate of a private CA, for a host that no name service knows."""
    with TlsProxy(int(sandbox.url.rpartition(":")[2]), tmp_path, "q.scrape.invalid", "localhost") as proxy:
        proxy.url = f"https://q.scrape.invalid:{proxy.port}"
        yield proxy


def call(kind, use, url, proxy="", ca_file="", **options):
    """Return the value of `use(client)` with a client whose transport is of this kind."""
    given = {"base_url": url, "max_retries": 0, "timeout": 10, **options}
    route = {"proxy": proxy, "ca_file": None if ca_file is None else str(ca_file)}
    if kind == BLOCKING:
        with ScrapeDoAsyncAPIClient("tok", **given, **route) as client:
            return use(client)

    async def call_async():
        if kind == READING:
            given["transport"] = PooledReadTransport(2, read_route(**route))
        else:
            given.update(route)
        async with AsyncScrapeDoAsyncAPIClient("tok", **given) as client:
            return await use(client)

    return asyncio.run(call_async())


def address(proxy, userinfo=USERINFO):
    return f"http://{userinfo}@127.0.0.1:{proxy.port}"


def shown(error):
    """Return all that a log or an error tracker prints of an error without its local variables."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)


@ALL
def test_each_transport_goes_through_the_tunnel_and_trusts_the_private_authority(kind, egress, inspected, caplog):
    caplog.set_level(logging.DEBUG)
    user = call(kind, lambda c: c.get_user_info(), inspected.url, address(egress), inspected.ca_file)
    assert user.available_credits > 0
    (head,) = egress.requests
    assert head.startswith(b"CONNECT q.scrape.invalid:%d HTTP/1.1\r\n" % inspected.port)
    assert b"tok" not in head
    ours = "".join(one.getMessage() for one in caplog.records if one.name.startswith("scrape_do"))
    assert not any(secret in ours for secret in SECRETS)


@WRITERS
def test_purchase_through_the_tunnel_asks_once_before_its_first_byte(kind, egress, inspected, sandbox):
    seen = []

    def look():
        # CONNECT and the handshake are over, and the API has no job.
        seen.append((len(egress.requests), egress.passed > 0, len(sandbox.jobs())))

    async def look_async():
        look()

    hook = look if kind == BLOCKING else look_async
    bought = call(
        kind, lambda c: c.create_job(REQUEST, before_send=hook), inspected.url, address(egress), inspected.ca_file
    )
    assert [job["id"] for job in sandbox.jobs()] == [bought.job_id]
    assert seen == [(1, True, 0)]


@WRITERS
def test_purchase_that_a_hook_stops_sends_nothing(kind, egress, inspected, sandbox):
    def stop():
        raise KeyError("lease")

    async def stop_async():
        stop()

    hook = stop if kind == BLOCKING else stop_async
    with pytest.raises(KeyError, match="lease"):
        call(kind, lambda c: c.create_job(REQUEST, before_send=hook), inspected.url, address(egress), inspected.ca_file)
    assert sandbox.log() == []


ANSWERS = {
    "407": b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "429": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    "502": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad",
    "503": b"HTTP/1.1 503 down\x1b[31m\r\nContent-Length: 0\r\n\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 0\r\n\r\n",
    "half": b"HTTP/1.1 200 Connection est",
    "nonsense": b"SSH-2.0-OpenSSH\r\n\r\n",
    "cut": b"",
    "plain": b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\n\r\nblocked by policy",
}


@pytest.mark.parametrize("answer", ANSWERS)
@WRITERS
def test_purchase_that_the_proxy_did_not_let_through_is_not_sent(kind, egress, inspected, sandbox, answer):
    egress.answers, asked = ANSWERS[answer], []

    async def ask():
        asked.append(1)

    hook = (lambda: asked.append(1)) if kind == BLOCKING else ask
    with pytest.raises(APIConnectionError) as caught:
        call(
            kind,
            lambda c: c.create_job(REQUEST, before_send=hook),
            inspected.url,
            address(egress),
            inspected.ca_file,
            timeout=3,
        )
    assert classify_submit_error(caught.value) is SubmitFailure.NOT_SENT
    assert (sandbox.log(), asked) == ([], [])
    assert not any(secret in shown(caught.value) for secret in SECRETS)


@WRITERS
@pytest.mark.parametrize("silent", ["proxy", "api"])
def test_purchase_without_a_tunnel_in_time_is_not_sent(kind, egress, inspected, sandbox, silent):
    stack = ExitStack()
    # A silent API stands for a proxy that answers CONNECT and leads nowhere: the handshake does not end.
    (egress if silent == "proxy" else inspected).silence()
    if silent == "api":
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        inspected.url = f"https://q.scrape.invalid:{listener.getsockname()[1]}"
    with stack, pytest.raises(APIConnectionError) as caught:
        call(kind, lambda c: c.create_job(REQUEST), inspected.url, address(egress), inspected.ca_file, timeout=0.5)
    assert classify_submit_error(caught.value) is SubmitFailure.NOT_SENT
    assert sandbox.log() == []


@WRITERS
def test_purchase_whose_tunnel_breaks_after_the_first_byte_is_in_doubt(kind, egress, inspected, sandbox):
    sandbox.fault("slow", kind="create_job", seconds=5)

    def cut():
        timer = threading.Timer(0.5, egress.cut)
        timer.start()

    async def cut_async():
        cut()

    hook = cut if kind == BLOCKING else cut_async
    with pytest.raises(SubmitInDoubtError):
        call(kind, lambda c: c.create_job(REQUEST, before_send=hook), inspected.url, address(egress), inspected.ca_file)


@WRITERS
def test_answer_of_a_proxy_to_a_post_itself_leaves_it_in_doubt(kind, egress, sandbox):
    """An http:// API has no tunnel. The proxy gets the request itself, and may have passed it on."""
    egress.answers = ANSWERS["502"]
    with pytest.raises(SubmitInDoubtError):
        call(kind, lambda c: c.create_job(REQUEST), sandbox.url, address(egress))
    egress.answers = None
    assert call(kind, lambda c: c.create_job(REQUEST), sandbox.url, address(egress)).job_id
    assert len(sandbox.jobs()) == 1


@ALL
def test_refused_password_is_named_and_not_shown(kind, egress, inspected):
    wrong = address(egress, "worker:wrong%20password")
    with pytest.raises(APIConnectionError, match="407 Proxy Authentication Required") as caught:
        call(kind, lambda c: c.get_user_info(), inspected.url, wrong, inspected.ca_file)
    assert not any(word in shown(caught.value) for word in ("wrong%20password", "wrong password"))


@ALL
def test_proxy_that_is_not_there_is_a_failed_connection(kind, inspected):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(APIConnectionError, match=f": no answer through the proxy 127.0.0.1:{port}: ") as caught:
        call(kind, lambda c: c.get_user_info(), inspected.url, f"http://{USERINFO}@127.0.0.1:{port}", inspected.ca_file)
    assert classify_submit_error(caught.value) is SubmitFailure.NOT_SENT
    assert not any(secret in shown(caught.value) for secret in SECRETS)


@ALL
def test_private_authority_is_not_trusted_unless_it_is_named(kind, inspected):
    url = inspected.url.replace("q.scrape.invalid", "localhost")
    with pytest.raises(APIConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        call(kind, lambda c: c.get_user_info(), url)
    assert call(kind, lambda c: c.get_user_info(), url, ca_file=inspected.ca_file)


@ALL
def test_proxy_may_speak_tls_itself(kind, inspected, tmp_path):
    context, folder = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tmp_path / "proxy"
    folder.mkdir()
    authority = trustme.CA()
    authority.issue_cert("localhost").configure_cert(context)
    both = folder / "both.pem"
    both.write_bytes(inspected.ca_file.read_bytes() + authority.cert_pem.bytes())
    with ConnectProxy(users=f"{USER}:{PASSWORD}", context=context) as proxy:
        url = f"https://{USERINFO}@localhost:{proxy.port}"
        assert call(kind, lambda c: c.get_user_info(), inspected.url, url, both)
        assert len(proxy.requests) == 1


@ALL
def test_proxies_of_the_environment_are_not_read(kind, egress, sandbox, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, address(egress))
    assert call(kind, lambda c: c.get_user_info(), sandbox.url)
    assert egress.accepted == 0


@pytest.mark.parametrize("kind", [BLOCKING, SUBMITTING])
def test_clients_take_the_variables_of_the_package(kind, egress, inspected, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_PROXY", address(egress))
    monkeypatch.setenv("SCRAPE_DO_CA_FILE", str(inspected.ca_file))
    assert call(kind, lambda c: c.get_user_info(), inspected.url, None, None)
    assert read_route().ca_file == str(inspected.ca_file)
    assert len(egress.requests) == 1
    with pytest.raises(APIConnectionError):
        call(kind, lambda c: c.get_user_info(), inspected.url)


@pytest.mark.parametrize(
    "given",
    ["prox:3128", "socks5://prox:1080", "http:/prox", "http://prox:x", f"{USERINFO}@prox:3128", "http://u:p@prox/x"],
)
def test_wrong_proxy_is_refused_without_being_shown(given):
    with pytest.raises(ValueError, match="proxy should be the URL of an HTTP proxy") as caught:
        ScrapeDoAsyncAPIClient("tok", proxy=given)
    assert "prox:" not in shown(caught.value).replace(__file__, "")
    assert given not in shown(caught.value)


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), (b"no certificate", "holds no certificate")])
def test_unreadable_file_of_authorities_is_named(tmp_path, content, why):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=why) as caught:
        ssl_context(str(file))
    assert list(caught.value.problems) == ["SCRAPE_DO_CA_FILE"]


def test_client_with_its_own_transport_takes_no_route():
    with pytest.raises(ValueError, match="give proxy and ca_file to the transport"):
        AsyncScrapeDoAsyncAPIClient("tok", transport=PooledReadTransport(1), proxy="http://proxy:3128")


def doctor(pipeline, **variables):
    done = pipeline.run_tool("doctor", patience=90, **variables)
    text = done.stdout + done.stderr
    return next((line for line in text.splitlines() if ": the API at" in line), ""), text


@pytest.mark.long
def test_doctor_names_the_route_and_hints_at_it(pipeline, egress, inspected):
    url = inspected.url.replace("q.scrape.invalid", "localhost")
    through = {"SCRAPE_DO_API_URL": inspected.url, "SCRAPE_DO_PROXY": address(egress)}
    private = {"SCRAPE_DO_CA_FILE": str(inspected.ca_file)}
    failed, text = doctor(pipeline, **through, **private)
    assert failed == ""
    assert f"requests to the API go through the proxy 127.0.0.1:{egress.port}, and trust" in text
    assert "accepts the token" in text
    assert not any(secret in text for secret in SECRETS)
    assert "if your network inspects TLS, SCRAPE_DO_CA_FILE should name" in doctor(pipeline, SCRAPE_DO_API_URL=url)[0]
    failed, text = doctor(pipeline, **through | {"SCRAPE_DO_PROXY": address(egress, "a:wrong-one")}, **private)
    assert "SCRAPE_DO_PROXY: the API at" in failed
    assert f"no answer through the proxy 127.0.0.1:{egress.port}: 407" in failed
    assert "check the address, user and password of the proxy" in failed
    assert "wrong-one" not in text
    failed, text = doctor(pipeline, SCRAPE_DO_API_URL="https://127.0.0.1:9", HTTPS_PROXY="http://proxy.example:3128")
    assert "go directly, without a proxy" in text
    assert "set SCRAPE_DO_PROXY (HTTPS_PROXY is set, but this package does not read it)" in failed
    assert "SCRAPE_DO_CA_FILE: /none cannot be read" in doctor(pipeline, SCRAPE_DO_CA_FILE="/none")[1]


@pytest.mark.long
def test_run_is_bought_and_fetched_through_the_proxy(pipeline, egress, inspected):
    pipeline.values |= {"api_url": inspected.url, "proxy": address(egress), "ca_file": str(inspected.ca_file)}
    pipeline.work("-l", "DEBUG")
    pages = pipeline.enqueue(["https://a.example/1", "https://a.example/2"]).result(timeout=120)
    assert len(pages.tasks) == 2
    assert pipeline.posts() == 1
    assert all(head.startswith(b"CONNECT ") for head in egress.requests)
    log = pipeline.log.read_text()
    assert not any(secret in log for secret in SECRETS)
    assert PASSWORD not in repr(pipeline.settings) + str(pipeline.settings)


@pytest.mark.long
def test_worker_without_its_file_of_authorities_does_not_start(pipeline):
    pipeline.values["ca_file"] = "/no/such/file.pem"
    assert pipeline.work().wait(60) != 0
    assert "SCRAPE_DO_CA_FILE: /no/such/file.pem cannot be read" in pipeline.log.read_text()
