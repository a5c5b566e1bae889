"""Test the core of receivers: which calls are refused, which bodies are believed, and that no call raises or floods."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrape_do_celery.config import Settings
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.rules.webhook_tokens import HEADER, PurchaseId, make_secret, make_url
from scrape_do_celery.webhooks import core
from scrape_do_celery.webhooks.core import Answer, HintReason, Receiver, WebhookDelivery

KEYS = (b"0123456789abcdef" * 2, b"fedcba9876543210" * 2)
PURCHASE = PurchaseId("0f0e0d0c-1111-4222-8333-444455556666", 0, 1)
PATH = urlsplit(make_url("https://shop.example/hooks", KEYS[0], PURCHASE)).path
SECRET = make_secret(KEYS[0], PURCHASE)
LIMIT = 65_536
RECEIVER = Receiver(KEYS, trusts_content=True, max_bytes=LIMIT)
TASK = {"TaskID": "t0", "JobID": "j", "URL": "https://a.example/", "Status": "success", "Content": "<html>\u00fc"}


def body_of(**changes):
    return json.dumps({name: value for name, value in {**TASK, **changes}.items() if value is not None}).encode()


def raw_deflate(data):
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def deliver(body, headers=None, *, receiver=RECEIVER, path=PATH, method="POST", size=1_000, **more):
    """Return what the core says of a call. The body comes in chunks of `size` bytes."""
    headers = [(HEADER, SECRET)] if headers is None else headers
    judged = receiver.judge_call(method, path, [*headers, *((one.replace("_", "-"), more[one]) for one in more)])
    if isinstance(judged, Answer):
        return judged
    for start in range(0, len(body), size):
        if judged.wants_more:
            judged.take_chunk(body[start : start + size])
    return judged.finish()


def sized_body(size):
    return body_of(Content="a" * (size - len(body_of(Content=""))))


def hint(reason, job_id="j", task_id="t0"):
    return WebhookDelivery(PURCHASE, job_id, task_id, reason)


# Pages


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("", bytes),
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("X-GZip", gzip.compress),
        ("identity, gzip", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
        ("gzip", bytes),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("utf-8", bytes),
    ],
)
def test_proven_page_is_read_in_each_encoding_and_any_chunks(encoding, compress, size):
    found = deliver(compress(body_of()), size=size, Content_Encoding=encoding)
    assert (found.purchase, found.job_id, found.task_id, found.reason) == (PURCHASE, "j", "t0", None)
    assert (found.page.content, found.page.url) == ("<html>\u00fc", "https://a.example/")


def test_page_is_not_shown():
    assert "<html>" not in repr(deliver(body_of()))
    assert "0123456789" not in repr(RECEIVER)


@pytest.mark.parametrize("key", KEYS)
def test_each_key_of_a_rotation_is_believed(key):
    path = urlsplit(make_url("https://shop.example", key, PURCHASE)).path
    for other in KEYS:
        assert deliver(body_of(), [(HEADER.upper(), make_secret(other, PURCHASE))], path=path).page is not None


def test_fields_that_only_this_package_sets_are_ignored():
    page = deliver(body_of(Meta={"a": 1}, TooLarge=True, Gone=True)).page
    assert (page.meta, page.too_large, page.gone) == (None, False, False)


# Hints


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], HintReason.HEADER_MISSING),
        ([(HEADER, "")], HintReason.HEADER_WRONG),
        ([(HEADER, SECRET[:-1])], HintReason.HEADER_WRONG),
        ([(HEADER, f"{SECRET}\u00fc")], HintReason.HEADER_WRONG),
        ([(HEADER, PATH[-64:])], HintReason.HEADER_WRONG),
        ([(HEADER, make_secret(KEYS[0], PURCHASE._replace(number=2)))], HintReason.HEADER_WRONG),
        ([(HEADER, make_secret(b"x" * 32, PURCHASE))], HintReason.HEADER_WRONG),
        ([(HEADER, SECRET), (HEADER, SECRET)], HintReason.HEADER_WRONG),
    ],
)
def test_without_the_secret_a_body_gives_its_ids_only(headers, reason):
    assert deliver(body_of(), headers) == hint(reason)


@pytest.mark.parametrize("body", [b"", b"no task", sized_body(LIMIT + 1)])
def test_unreadable_body_proves_a_purchase_by_its_header_only(body):
    assert deliver(body).is_proven
    assert not deliver(body, [(HEADER, SECRET[:-1])]).is_proven
    assert not deliver(body, []).is_proven


def test_content_is_not_believed_by_default():
    receiver = Receiver(KEYS)
    assert deliver(body_of(), receiver=receiver) == hint(HintReason.NOT_TRUSTED)
    assert deliver(body_of(), [], receiver=receiver) == hint(HintReason.HEADER_MISSING)


@pytest.mark.parametrize(
    "changes",
    [
        {"Status": "error"},
        {"Status": "canceled"},
        {"Status": "pending"},
        {"Status": "no word of the API"},
        {"Content": None},
        {"Content": ""},
        {"Content": "not base64!", "Base64EncodedContent": True},
        {"Content": "====", "Base64EncodedContent": True},
    ],
    ids=str,
)
def test_task_without_a_page_is_a_hint(changes):
    assert deliver(body_of(**changes)) == hint(HintReason.NO_PAGE)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"null", b"\xff\xfe", b"<html>", body_of()[:-1], b"[" * 60_000, b'{"a":' * 10_000),
        *(body_of(TaskID=None), body_of(JobID=None), body_of(Status=None), body_of(TaskID=".."), body_of(JobID="a b")),
        b'{"TaskID": ' + b"1" * 5_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_unreadable_body_is_a_hint(body):
    assert deliver(body) == hint(HintReason.UNREADABLE, "", "")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:9], lambda data: data[:9] + b"x" * 30])
def test_damaged_compression_is_a_hint(encoding, damage):
    data = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding](body_of(Content="<p>" * 900))
    assert deliver(damage(data), Content_Encoding=encoding) == hint(HintReason.UNREADABLE, "", "")


def test_body_in_two_encodings_is_a_hint():
    data = gzip.compress(gzip.compress(body_of()))
    assert deliver(data, Content_Encoding="gzip, gzip") == hint(HintReason.UNREADABLE, "", "")


# Size


@pytest.mark.parametrize("encoding", ["identity", "deflate"])
def test_largest_body_is_read_and_a_larger_one_is_a_hint(encoding):
    compress = {"identity": bytes, "deflate": zlib.compress}[encoding]
    assert deliver(compress(sized_body(LIMIT)), Content_Encoding=encoding).page is not None
    found = deliver(compress(sized_body(LIMIT + 1)), Content_Encoding=encoding)
    assert found == hint(HintReason.TOO_LARGE, "", "")


def test_compressed_bytes_are_limited_too():
    """An endless row of empty gzip members never becomes a byte."""
    empty = gzip.compress(b"") * 5_000
    assert deliver(empty, Content_Encoding="gzip") == hint(HintReason.TOO_LARGE, "", "")


@pytest.mark.parametrize("length", [str(LIMIT + 1), "9" * 5_000, f" {LIMIT * 2} "])
def test_announced_size_over_the_limit_is_not_read(length):
    judged = RECEIVER.judge_call("POST", PATH, [(HEADER, SECRET), ("content-length", length)])
    assert not judged.wants_more
    judged.take_chunk(body_of())
    assert judged.finish() == hint(HintReason.TOO_LARGE, "", "")


@pytest.mark.parametrize("length", ["0", "1", "-1", "", "many", "1e9", "\u0661" * 9, str(LIMIT)])
def test_announced_size_that_lies_changes_nothing(length):
    assert deliver(body_of(), Content_Length=length).page is not None


def test_bomb_takes_no_memory():
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < LIMIT
    tracemalloc.start()
    try:
        found = deliver(bomb, Content_Encoding="gzip", size=len(bomb))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == hint(HintReason.TOO_LARGE, "", "")
    assert peak < 1_000_000


def test_reading_ends_at_the_limit():
    judged = RECEIVER.judge_call("POST", PATH, [(HEADER, SECRET)])
    taken = 0
    while judged.wants_more:
        judged.take_chunk(b"x" * 1_000)
        taken += 1_000
    assert taken <= LIMIT + 1_000
    assert judged.finish() == hint(HintReason.TOO_LARGE, "", "")


# Refused calls


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/hooks", PATH[:-1], f"{PATH}0", PATH.replace("-0-1-", "-0-2-"), f"{PATH}/more"),
        urlsplit(make_url("https://a.example", b"x" * 32, PURCHASE)).path,
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_call_of_no_webhook_is_forbidden(path, method):
    assert deliver(body_of(), path=path, method=method) == core.FORBIDDEN


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "", "post it"])
def test_other_methods_are_not_allowed(method):
    assert deliver(b"", method=method) == core.NOT_ALLOWED
    assert core.NOT_ALLOWED.headers == (("Allow", "POST"),)


def test_path_that_a_proxy_has_changed_is_known():
    for path in (f"{PATH}/", PATH.upper(), PATH.replace("-", "%2D"), f"/other/prefix{PATH}"):
        assert deliver(body_of(), path=path).page is not None


# Settings


def test_receiver_of_settings():
    keys = [key.decode() for key in KEYS]
    given = {"webhook_keys": keys, "webhook_base_url": "https://shop.example", "webhook_max_bytes": LIMIT}
    assert Receiver.from_settings(Settings(webhook_trust="content", **given)) == RECEIVER
    assert Receiver.from_settings(Settings(webhook_keys=keys)) == Receiver(KEYS)
    # A page that is too large to be fetched is no page of a delivery either.
    small = Settings(webhook_keys=keys, max_page_bytes=70_000)
    assert Receiver.from_settings(small) == Receiver(KEYS, max_bytes=70_000)
    with pytest.raises(
        ConfigurationError, match="SCRAPE_DO_WEBHOOK_KEYS is not set: set it to the keys of the workers"
    ):
        Receiver.from_settings(Settings())


# Any call

BODIES = st.one_of(
    st.binary(max_size=300),
    st.just(body_of()),
    st.builds(lambda cut: body_of()[:cut], st.integers(0, 120)),
    st.builds(
        lambda data: json.dumps(data).encode(),
        st.dictionaries(
            st.sampled_from([*TASK, "Base64EncodedContent", "ResponseHeaders", "StartTime"]),
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(max_size=9)
            | st.lists(st.text(max_size=2)),
        ).map(lambda changes: {**TASK, **changes}),
    ),
    st.just(sized_body(LIMIT + 1)),
)
ENCODE = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "br": bytes}
SECRETS = st.sampled_from([SECRET, SECRET[::-1], ""]) | st.text(max_size=5)
HEADERS = st.lists(
    st.tuples(st.sampled_from([HEADER, HEADER.lower()]), SECRETS)
    | st.tuples(st.sampled_from(["Content-Length", "content-encoding"]), st.sampled_from(["1", "gzip", "é", "9" * 20]))
    | st.tuples(st.text(max_size=5), st.text(max_size=5)),
    max_size=4,
)
PATHS = st.sampled_from([PATH, PATH.upper(), f"{PATH}/", PATH[:-1]]) | st.text(max_size=20)


@settings(max_examples=150)
@given(
    st.sampled_from(["POST", "POST", "POST", "GET"]) | st.text(max_size=4),
    PATHS,
    HEADERS,
    BODIES,
    st.sampled_from([*ENCODE]),
    st.sampled_from([*ENCODE]),
    st.integers(1, 400),
    st.booleans(),
)
def test_no_call_raises_and_no_lie_is_believed(method, path, headers, body, encoding, said, size, trusts):
    receiver = Receiver(KEYS, trusts, LIMIT)
    sent = ENCODE[encoding](body)
    found = deliver(
        sent, [*headers, ("Content-Encoding", said)], receiver=receiver, path=path, method=method, size=size
    )
    is_known = path.rstrip("/").lower() == PATH
    if isinstance(found, Answer):
        assert found == (core.NOT_ALLOWED if is_known else core.FORBIDDEN)
        assert not (is_known and method.upper() == "POST")
        return
    assert is_known
    assert found.purchase == PURCHASE
    assert (found.page is None) == (found.reason is not None)
    if found.page is not None:
        assert trusts
        assert [value.strip() for name, value in headers if name.lower() == HEADER.lower()] == [SECRET]
        assert len(sent) <= LIMIT
        assert found.page.content == json.loads(body)["Content"]
