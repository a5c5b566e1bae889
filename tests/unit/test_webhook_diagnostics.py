"""Test the probes of `doctor --webhook`: a real receiver over a real store, behind proxies that spoil deliveries."""

from __future__ import annotations

import pytest

from scrape_do_celery import webhook_diagnostics
from scrape_do_celery.config import Settings
from scrape_do_celery.rules.webhook_tokens import read_purchase
from scrape_do_celery.runs import make_app
from scrape_do_celery.store import PartId, Store
from scrape_do_celery.store.commands.deliveries import TakeDelivery
from scrape_do_celery.webhooks.wsgi import WebhookApp
from tests.support.redis_servers import RedisServer, find_free_port
from tests.support.tcp_proxies import ConnectProxy, TcpProxy, TlsProxy
from tests.support.webhook_fronts import Front, serve_wsgi

KEYS = tuple(word * 4 for word in ("0123abcd", "4567efgh", "89ijklmn"))
SECRET_HEADER = "X-Scrape-Do-Webhook-Secret"
LOGIN = "<form action=/login>"


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture
def make_settings(clean_environment, redis_server):
    def make(port, *, scheme="http", host="127.0.0.1", **values):
        return Settings(
            broker_url="memory://",
            result_backend="cache+memory://",
            webhook_base_url=f"{scheme}://{host}:{port}/hooks",
            **{"redis_url": redis_server.url, "webhook_keys": KEYS[0], **values},
        )

    return make


@pytest.fixture
def open_receiver(make_settings):
    """Return a function that starts a receiver with these settings, and returns its port."""
    opened = []

    def start(**values):
        app = make_app(make_settings(1, **values))
        opened.append(serve_wsgi(WebhookApp(app)))
        return opened[-1].port

    yield start
    for one in opened:
        one.__exit__(None, None, None)


@pytest.fixture
def check(make_settings):
    """Return a function that checks the receiver at a port, and returns the texts of the findings by level."""

    def run(port, **values):
        settings = make_settings(port, **values)
        store = Store.open(settings.redis_url, settings.key_prefix)
        found = list(webhook_diagnostics.check_receiver(store, settings))
        store.close()
        assert not any(key in one.text for key in KEYS for one in found)
        return [(one.level, one.text) for one in found]

    return run


def levels(found):
    return [level for level, _ in found]


def only_wrong(found):
    """Return the text of the last finding, which is the only bad one."""
    assert {"wrong", "warning"}.isdisjoint(levels(found[:-1])), found
    assert found[-1][0] == "wrong"
    return found[-1][1]


def test_receiver_that_works_is_proven_by_the_store(open_receiver, check):
    with Front(open_receiver()) as front:
        found = check(front.port)
    assert levels(found) == ["ok"] * 4, found
    (first, header, large, forged) = (text for _, text in found)
    assert f"through http://127.0.0.1:{front.port}/hooks reached the store within" in first
    assert (header, large, forged) == (
        f"the header {SECRET_HEADER} arrives",
        "a body of 3,000,000 bytes arrives whole",
        "a forged delivery is refused with 403, as the log of the receiver tells",
    )


def test_smaller_limit_of_the_settings_bounds_the_large_body(open_receiver, check):
    values = {"webhook_max_bytes": 70_000}
    found = check(open_receiver(**values), **values)
    assert found[2] == ("ok", "a body of 70,000 bytes arrives whole")


@pytest.mark.parametrize("text", [LOGIN, LOGIN * 10_000, "ok"])
def test_site_that_answers_200_to_everything_is_no_receiver(check, text):
    with Front(answer=(200, {}, text)) as front:
        told = only_wrong(check(front.port))
    assert "did not reach the store: " in told
    assert ("login page" in told) is (text != "ok")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((400, {}, "<h1>Bad Request (400)</h1>"), "add 127.0.0.1 to ALLOWED_HOSTS"),
        ((403, {}, "CSRF verification failed."), "exempt the receiver"),
        ((404, {}, "Not Found"), "no receiver is at /hooks"),
        ((502, {}, "Bad Gateway"), "the proxy does not reach the receiver"),
        ((302, {"Location": "/accounts/login/?next=/hooks"}, ""), "login page"),
        (lambda call: (301, {"Location": f"{call.path}/"}, ""), "APPEND_SLASH"),
        (lambda call: (301, {"Location": f"https://127.0.0.1{call.path}"}, ""), "to the URL with https://"),
    ],
)
def test_refusal_before_the_receiver_is_explained_and_shows_no_token(check, answer, words):
    with Front(answer=answer) as front:
        told = only_wrong(check(front.port))
    assert words in told
    assert "-0-1-" not in told.replace("-0-1-***", "")


def test_receiver_of_another_store_is_told(open_receiver, check):
    told = only_wrong(check(open_receiver(key_prefix="other")))
    assert "writes to another store" in told
    assert "scrape_do)" in told


def test_receiver_whose_store_is_away_is_told(open_receiver, check):
    url = f"redis://127.0.0.1:{find_free_port()}/0"
    assert "its store does not answer or is full" in only_wrong(check(open_receiver(redis_url=url, store_timeout=0.5)))


def test_receiver_without_keys_is_told(open_receiver, check):
    told = only_wrong(check(open_receiver(webhook_keys=None)))
    assert "check its SCRAPE_DO_REDIS_URL, SCRAPE_DO_WEBHOOK_KEYS and SCRAPE_DO_WEBHOOK_TRUST" in told


def test_receiver_with_other_keys_is_told(open_receiver, check):
    assert "does not have the first key" in only_wrong(check(open_receiver(webhook_keys=KEYS[1])))


def test_each_key_of_a_rotation_is_tried(open_receiver, check):
    keys = ",".join(KEYS)
    found = check(open_receiver(webhook_keys=f"{KEYS[0]},{KEYS[2]}"), webhook_keys=keys)
    assert levels(found) == ["ok", "ok", "wrong", "ok", "ok"]
    told = found[2][1]
    assert "key number 2 in SCRAPE_DO_WEBHOOK_KEYS" in told


@pytest.mark.parametrize(("trust", "level", "words"), [("hint", "warning", "ids"), ("content", "wrong", "page")])
def test_proxy_that_removes_the_header_is_found(open_receiver, check, trust, level, words):
    with Front(open_receiver(), drops=[SECRET_HEADER]) as front:
        found = check(front.port, webhook_trust=trust)
    assert levels(found) == ["ok", level, "ok", "ok"]
    assert f"the header {SECRET_HEADER} does not arrive" in found[1][1]
    assert words in found[1][1]


def test_proxy_that_limits_bodies_is_found(open_receiver, check):
    with Front(open_receiver(), limit=1_048_576) as front:
        found = check(front.port)
    assert levels(found) == ["ok", "ok", "wrong", "ok"]
    assert "client_max_body_size of nginx" in found[2][1]


def test_middleware_that_reads_the_body_under_a_limit_is_found(open_receiver, check):
    def refuse_large(call):
        """Answer as Django does if a middleware reads `request.body`."""
        return (400, {}, "<h1>Bad Request (400)</h1>") if int(call.headers["Content-Length"]) > 2_621_440 else None

    with Front(open_receiver(), answer=refuse_large) as front:
        found = check(front.port)
    assert levels(found) == ["ok", "ok", "wrong", "ok"]
    assert "DATA_UPLOAD_MAX_MEMORY_SIZE" in found[2][1]
    assert "ALLOWED_HOSTS" not in found[2][1]


def test_proxy_that_breaks_the_connection_of_a_large_body_is_found(open_receiver, check):
    with Front(open_receiver(), resets=1_048_576) as front:
        found = check(front.port)
    assert levels(found) == ["ok", "ok", "wrong", "ok"]
    assert "does not arrive whole: " in found[2][1]


def test_proxy_that_cuts_bodies_is_found(open_receiver, check):
    with Front(open_receiver(), cut=1_000_000) as front:
        found = check(front.port)
    assert levels(found) == ["ok", "ok", "wrong", "ok"]
    assert "a proxy or a middleware cuts it" in found[2][1]
    with Front(open_receiver(), cut=0) as front:
        found = check(front.port)
    assert levels(found) == ["ok", "wrong", "wrong", "ok"]
    assert "the body of a delivery does not arrive whole" in found[1][1]


def test_answer_that_does_not_come_back_is_found(open_receiver, check):
    with Front(open_receiver(), hides=(504, "Gateway Timeout")) as front:
        found = check(front.port)
    assert levels(found) == ["ok", "wrong", "ok", "wrong", "warning"]
    assert "its answer does not arrive: status 504" in found[1][1]
    assert "its answer does not come back: status 504" in found[3][1]
    assert "answered with 504 instead of 403" in found[4][1]


def test_receiver_that_takes_forged_deliveries_is_found(open_receiver, check, make_settings):
    store = Store.open(make_settings(1).redis_url, "scrape_do")

    def take_forged(call):
        """Answer as a receiver that checks nothing. Real deliveries reach the real receiver."""
        if read_purchase(call.path, [KEYS[0].encode()]):
            return None
        run_id = call.path.rpartition("/")[2][:36]
        store.run(TakeDelivery(PartId(run_id, 0), 1, None, "doctor", "doctor"))
        return 200, {}, "ok"

    with Front(open_receiver(), answer=take_forged) as front:
        found = check(front.port)
    store.close()
    assert levels(found) == ["ok", "ok", "ok", "wrong"]
    assert "a forged delivery reached the store" in found[-1][1]


def test_forged_delivery_without_an_answer_is_told(open_receiver, check):
    def drop_forged(call):
        if read_purchase(call.path, [KEYS[0].encode()]) is None:
            raise ConnectionError

    with Front(open_receiver(), answer=drop_forged) as front:
        found = check(front.port)
    assert levels(found) == ["ok", "ok", "ok", "warning"]
    assert "a forged delivery got no answer: " in found[-1][1]


def test_certificate_of_a_private_authority_is_found(open_receiver, check, tmp_path):
    with TlsProxy(open_receiver(), tmp_path) as proxy:
        assert "the certificate is not one that a public authority" in only_wrong(check(proxy.port, scheme="https"))
        # A test of one's own on this machine may trust it.
        assert levels(check(proxy.port, scheme="https", ca_file=str(proxy.ca_file))) == ["ok"] * 4


def test_unreadable_authorities_are_told(check):
    assert "SCRAPE_DO_CA_FILE: /nowhere/ca.pem cannot be read" in only_wrong(check(1, ca_file="/nowhere/ca.pem"))


def test_probes_of_a_public_receiver_take_the_proxy_of_the_settings(open_receiver, check):
    with ConnectProxy() as proxy:
        found = check(open_receiver(), host="shop.example", proxy=f"http://127.0.0.1:{proxy.port}")
    assert levels(found) == ["ok"] * 4, found
    assert len(proxy.requests) == 3


def test_connection_that_fails_is_explained(check, make_settings, monkeypatch):
    monkeypatch.setattr(webhook_diagnostics, "_STEP_TIME", 0.2)
    assert "nothing listens at this address" in only_wrong(check(find_free_port()))
    assert "DNS does not know the host" in only_wrong(check(80, host="receiver.invalid"))
    with TcpProxy(1) as proxy:
        assert "the connection broke" in only_wrong(check(proxy.port))
        assert "does not speak TLS" in only_wrong(check(proxy.port, scheme="https"))
        proxy.silence()
        assert "open the port in the firewall" in only_wrong(check(proxy.port))


def test_check_needs_the_settings_of_webhooks(clean_environment, redis_server):
    store = Store.open(redis_server.url, "scrape_do")
    (found,) = webhook_diagnostics.check_receiver(store, Settings())
    store.close()
    assert found.level == "wrong"
    assert found.text.startswith("--webhook needs SCRAPE_DO_WEBHOOK_BASE_URL and SCRAPE_DO_WEBHOOK_KEYS: ")
