"""Test each face of the receiver of webhooks in a real server, with one suite for all."""

from __future__ import annotations

import gzip
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from webhook_receivers import ASYNC, BOUNDED, SERVERS, BoughtPart, ReceiverProcess, make_bomb

from scrape_do_celery.store import PartState, Store
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart
from scrape_do_celery.store.commands.runs import ForgetRun
from tests.support.redis_servers import RedisServer, wait_until

pytestmark = pytest.mark.long
PREFIX = "t"
FORGED = f"/hooks/{uuid.uuid4()}-0-1-{'0' * 64}"
CHUNK = 65_536


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture(scope="module")
def store(redis_server):
    one = Store.open(redis_server.url, PREFIX)
    yield one
    one.close()


@pytest.fixture(scope="module", params=list(SERVERS))
def receiver(request, redis_server, tmp_path_factory):
    one = ReceiverProcess(request.param, redis_server.url, PREFIX, tmp_path_factory.mktemp("receiver"))
    yield one
    one.stop()


@pytest.fixture
def part(store):
    return BoughtPart(store, str(uuid.uuid4()))


def answer_of(receiver, *arguments, **options):
    return receiver.call(*arguments, **options)[:2]


OK = (200, "ok")


# What is taken


def test_page_with_the_secret_is_stored(receiver, part):
    assert answer_of(receiver, part.path, part.body(), **part.secret) == OK
    assert part.stored == {0}


def test_delivery_without_the_secret_is_a_hint(receiver, part):
    assert answer_of(receiver, part.path, part.body(1)) == OK
    assert (part.stored, part.entries["1"]) == (set(), "hint")


def test_wrong_secret_makes_a_hint(receiver, part):
    wrong = {name: value[::-1] for name, value in part.secret.items()}
    assert answer_of(receiver, part.path, part.body(1), **wrong) == OK
    assert (part.stored, part.entries["1"]) == (set(), "hint")


def test_resent_and_replayed_deliveries_change_nothing(receiver, part, store):
    assert answer_of(receiver, part.path, part.body(), **part.secret) == OK
    before = dump_part(store, part)
    for _ in range(2):
        assert answer_of(receiver, part.path, part.body(content="<p>forged"), **part.secret) == OK
    assert dump_part(store, part) == before


def test_body_of_another_run_is_not_stored(receiver, part, store):
    other = BoughtPart(store, str(uuid.uuid4()))
    before = dump_part(store, part)
    assert answer_of(receiver, part.path, other.body(), **part.secret) == OK
    assert (part.stored, other.stored, other.entries) == (set(), set(), {})
    assert dump_part(store, part) == before


@pytest.mark.parametrize("change", ["{}/", "/hooks/deeper{}", "{}?query=1", "upper", "{}//"])
def test_changed_path_still_belongs_to_its_purchase(receiver, part, change):
    path = f"/hooks/{part.path.rpartition('/')[2].upper()}" if change == "upper" else change.format(part.path)
    assert answer_of(receiver, path, part.body(), **part.secret) == OK
    assert part.stored == {0}


def test_page_of_two_and_a_half_million_bytes_is_stored(receiver, part):
    assert answer_of(receiver, part.path, part.body(content="x" * 3_500_000), **part.secret) == OK
    assert part.stored == {0}


def test_compressed_page_is_stored(receiver, part):
    body = gzip.compress(part.body(content="x" * 3_000_000))
    assert answer_of(receiver, part.path, body, Content_Encoding="gzip", **part.secret) == OK
    assert part.stored == {0}


def test_body_in_chunks_without_a_length_is_stored(receiver, part):
    body = part.body(content="x" * 300_000)
    chunks = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
    headers = {"Transfer_Encoding": "chunked", **part.secret}
    assert answer_of(receiver, part.path, chunks, chunked=True, **headers) == OK
    assert part.stored == {0}


def test_deliveries_share_a_connection(receiver, part):
    connection = receiver.connect()
    for at in range(3):
        assert answer_of(receiver, part.path, part.body(at), connection=connection, **part.secret) == OK
    connection.close()
    assert part.stored == {0, 1, 2}


def test_deliveries_at_the_same_time_are_all_taken(receiver, store):
    part = BoughtPart(store, str(uuid.uuid4()), tasks=40)
    with ThreadPoolExecutor(8) as senders:
        answers = senders.map(lambda at: answer_of(receiver, part.path, part.body(at), **part.secret), range(40))
        assert list(answers) == [OK] * 40
    assert part.stored == set(range(40))


# What is refused


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_forged_call_is_refused(receiver, method):
    assert receiver.call(FORGED, method=method)[0] == 403
    assert receiver.call("/hooks/", method=method)[0] == 403


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_method_is_refused(receiver, part, method):
    status, _, headers = receiver.call(part.path, part.body(), method=method, **part.secret)
    assert (status, headers["Allow"]) == (405, "POST")
    assert (part.stored, part.entries) == (set(), {})


def test_forged_calls_leave_no_trace(receiver, store):
    client = store.client
    keys, before = client.dbsize(), count_commands(client)
    connection = receiver.connect()
    for number in range(2_000):
        status, _, headers = receiver.call(f"{FORGED[:-4]}{number:04}", b"{}", connection=connection)
        assert status == 403
        if headers.get("Connection") == "close":
            connection.close()
    connection.close()
    assert client.dbsize() == keys
    assert count_commands(client) == before
    # The receiver is up.
    assert receiver.call(FORGED)[0] == 403


# Bodies that must not fill the memory


@pytest.mark.parametrize("secret", [True, False], ids=["page", "hint"])
def test_huge_body_is_a_hint_and_is_never_held(receiver, part, secret):
    body = b"x" * 50_000_000
    assert answer_of(receiver, part.path, part.body(), **part.secret) == OK
    with receiver.growth(len(body)) as growth:
        assert answer_of(receiver, part.path, body, **(part.secret if secret else {})) == OK
    assert growth[0] < 0.3
    assert part.stored == {0}


def test_huge_body_in_chunks_is_a_hint_and_is_never_held(receiver, part):
    headers = {"Transfer_Encoding": "chunked", **part.secret}
    with receiver.growth(50_000_000) as growth:
        assert answer_of(receiver, part.path, (b"x" * CHUNK for _ in range(763)), chunked=True, **headers) == OK
    assert growth[0] < 0.3
    assert part.stored == set()


def test_huge_forged_body_is_refused_and_never_held(receiver):
    body = b"x" * 50_000_000
    receiver.call(FORGED)
    with receiver.growth(len(body)) as growth:
        assert receiver.call(FORGED, body)[0] == 403
    assert growth[0] < 0.3


def test_bomb_is_a_hint_and_is_never_held(receiver, part):
    size = 100_000_000
    assert len(make_bomb(size)) < 200_000
    assert answer_of(receiver, part.path, part.body(1), **part.secret) == OK
    with receiver.growth(size) as growth:
        assert answer_of(receiver, part.path, make_bomb(size), Content_Encoding="gzip", **part.secret) == OK
    assert growth[0] < 0.2
    assert part.stored == {1}


# Runs that have ended


def test_deliveries_for_an_ended_and_a_forgotten_run_are_taken(receiver, part, store):
    claim = store.run(ClaimPart(part.part_id, "t2", seconds=30, states=list(PartState), isolated=True))
    assert claim is not None
    store.run(FinishPart(claim, "failed"))
    assert answer_of(receiver, part.path, part.body(), **part.secret) == OK
    store.run(ForgetRun(part.part_id.run_id))
    assert answer_of(receiver, part.path, part.body(), **part.secret) == OK
    assert part.stored == set()


# A store that is away, and slow senders


def test_store_that_is_away_or_full_puts_deliveries_off(receiver, part, redis_server, store):
    redis_server.kill()
    try:
        status, _, headers = receiver.call(part.path, part.body(), **part.secret)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert receiver.call(FORGED)[0] == 403
    finally:
        redis_server.restart()
    store.client.config_set("maxmemory", int(store.client.info("memory")["used_memory"]) * 100 // 96)
    wait_until(lambda: receiver.call(part.path, part.body(), **part.secret)[0] == 503)
    store.client.config_set("maxmemory", 0)
    wait_until(lambda: answer_of(receiver, part.path, part.body(), **part.secret) == OK)
    assert part.stored == {0}


def test_slow_senders_do_not_stop_an_async_receiver(receiver, part):
    if receiver.face not in ASYNC:
        pytest.skip("the server gives each call a thread or a process")
    slow = [receiver.open_slowly(part.path, 1_000, **part.secret) for _ in range(50)]
    for one in slow:
        one.sendall(part.body()[:10])
    assert answer_of(receiver, part.path, part.body(1), **part.secret) == OK
    assert part.stored == {1}
    if receiver.face in BOUNDED:
        assert all(one.recv(12) == b"HTTP/1.1 200" for one in slow)
    for one in slow:
        one.close()
    assert answer_of(receiver, part.path, part.body(2), **part.secret) == OK


def count_commands(client):
    """Return how often each command was carried out, but for those of this test's own client."""
    own = {"cmdstat_info", "cmdstat_dbsize", "cmdstat_ping", "cmdstat_client|setinfo", "cmdstat_hello"}
    return {name: one["calls"] for name, one in client.info("commandstats").items() if name not in own}


def dump_part(store, part):
    names = (store.keys.part(part.part_id), store.keys.contents(part.part_id), store.keys.deliveries(part.part_id))
    return [store.client.hgetall(name) for name in names]
