"""Test that only the URL and the header of a purchase prove that purchase, and that proxies do not break the URL."""

from __future__ import annotations

import re
import uuid
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.models.urls_refused import why_no_target
from scrape_do_celery.rules.reconciliation import carries, with_marker
from scrape_do_celery.rules.webhook_tokens import (
    HEADER,
    PurchaseId,
    carries_webhook,
    hide_token,
    is_secret,
    make_secret,
    make_url,
    read_purchase,
    with_webhook,
)

#: Each test has its special cases as examples, so few others suffice.
few = settings(max_examples=30)
KEY, OTHER = b"k" * 32, b"o" * 32
BASE = "https://shop.example/hooks"
RUN = "0f0e0d0c-1111-4222-8333-444455556666"
PURCHASE = PurchaseId(RUN, 0, 1)
RUN_IDS = st.uuids().map(str) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
NUMBERS = st.integers(0, 10**9 - 1)
PURCHASES = st.builds(PurchaseId, RUN_IDS, NUMBERS, NUMBERS)
KEYS = st.binary(min_size=32, max_size=48)


def path_of(purchase, key=KEY, base=BASE):
    return urlsplit(make_url(base, key, purchase)).path


@few
@given(PURCHASES, KEYS)
@example(PurchaseId("UPPER/../..?#%2F ü", 0, 1), KEY)
@example(PurchaseId(RUN.upper(), 0, 1), KEY)
@example(PurchaseId("x00", 0, 1), KEY)
def test_url_and_header_prove_their_purchase(purchase, key):
    assert read_purchase(path_of(purchase, key), [key]) == purchase
    assert is_secret(make_secret(key, purchase), [key], purchase)


@few
@given(PURCHASES, PURCHASES)
@example(PurchaseId("1\n2", 3, 4), PurchaseId("2", 3, 4))
@example(PURCHASE, PURCHASE._replace(number=2))
@example(PURCHASE, PURCHASE._replace(part=1))
@example(PURCHASE, PURCHASE._replace(run_id=RUN.upper()))
def test_no_other_purchase_is_proven(purchase, other):
    assume(purchase != other)
    token, segment = path_of(purchase)[-64:], path_of(other)[:-64]
    assert read_purchase(segment + token, [KEY]) is None
    assert not is_secret(make_secret(KEY, purchase), [KEY], other)


@few
@given(PURCHASES, KEYS, KEYS)
def test_no_other_key_proves_a_purchase(purchase, key, other):
    assume(key != other)
    assert read_purchase(path_of(purchase, key), [other]) is None
    assert not is_secret(make_secret(key, purchase), [other], purchase)


def test_without_keys_nothing_is_proven():
    assert read_purchase(path_of(PURCHASE), []) is None
    assert not is_secret(make_secret(KEY, PURCHASE), [], PURCHASE)


@pytest.mark.parametrize("signer", [KEY, OTHER])
def test_each_key_of_a_rotation_proves(signer):
    assert read_purchase(path_of(PURCHASE, signer), [KEY, OTHER]) == PURCHASE
    assert is_secret(make_secret(signer, PURCHASE), [KEY, OTHER], PURCHASE)


@few
@given(PURCHASES)
def test_neither_signature_serves_for_the_other(purchase):
    token = path_of(purchase)[-64:]
    assert not is_secret(token, [KEY], purchase)
    assert read_purchase(path_of(purchase)[:-64] + make_secret(KEY, purchase), [KEY]) is None


ALPHABET = "0123456789abcdefgxyz-_.~%/ \x00é\u212a"


@settings(max_examples=100)
@given(st.sampled_from([PURCHASE, PurchaseId("any id", 12, 3)]), st.data())
def test_a_changed_url_is_refused(purchase, data):
    prefix, _, segment = path_of(purchase).rpartition("/")
    position = data.draw(st.integers(0, len(segment) - 1))
    removed, added = data.draw(st.integers(0, 2)), data.draw(st.text(ALPHABET, max_size=2))
    changed = segment[:position] + added + segment[position + removed :]
    # The last segment counts: a slash before it, or behind it, changes nothing.
    assume(changed.rstrip("/").rpartition("/")[2] != segment)
    assert read_purchase(f"{prefix}/{changed}", [KEY]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda run, rest: f"x{RUN.encode().hex()}-{rest}",
        lambda run, rest: f"{run}-0{rest}",
        lambda run, rest: f"{run}-+{rest}",
        lambda run, rest: f"{run}-{rest}".replace("-", "\u2010"),
        lambda run, rest: f"{run}-{rest}".replace("0", "\uff10"),
    ],
    ids=["hex of a UUID", "leading zero", "sign", "Unicode dashes", "Unicode digits"],
)
def test_a_purchase_has_one_spelling(change):
    segment = path_of(PURCHASE).rpartition("/")[2]
    assert read_purchase(change(RUN, segment.removeprefix(f"{RUN}-")), [KEY]) is None


@few
@given(PURCHASES, st.sampled_from(["", "/", "//"]), st.sampled_from(["", "/hooks", "/a//b", "/%7Ea", "/ä"]))
def test_proxies_do_not_break_the_url(purchase, slashes, prefix):
    segment = path_of(purchase).rpartition("/")[2]
    for spelled in (segment, segment.upper(), "".join(f"%{ord(one):02x}" for one in segment), quote(f"/{segment}", "")):
        # A prefix outside of ASCII comes encoded, or as the server has decoded it.
        path = f"{quote(prefix)}/{spelled}{slashes}"
        assert read_purchase(path, [KEY]) == purchase
    assert re.fullmatch("[a-z0-9-]+", segment)


@few
@given(st.text() | st.text("0123456789abcdefx-/%", max_size=200), st.text())
@example("x" * 100_000, "")
@example("%" * 20_000, "\udc80")
@example("/xff-0-1-" + "0" * 64, "")
@example("/xed8080-0-1-" + "0" * 64, "")
def test_hostile_text_is_refused_without_an_error(path, value):
    assert read_purchase(path, [KEY]) is None
    assert not is_secret(value, [KEY], PURCHASE)


@few
@given(PURCHASES)
def test_the_request_carries_webhook_and_marker(purchase):
    request = JobCreationRequest(targets=["https://a.example/"])
    assert not carries_webhook(request)
    signed = with_webhook(request, f"{BASE}/", KEY, purchase)
    assert carries_webhook(signed)
    assert signed.webhook_headers == {HEADER: make_secret(KEY, purchase)}
    assert why_no_target(signed.webhook_url) is None
    marked = with_marker(signed, "0123", None)
    assert carries(marked.webhook_url, "0123")
    parts = urlsplit(marked.webhook_url)
    assert (read_purchase(parts.path, [KEY]), parse_qs(parts.query)) == (purchase, {"scrape_do_intent": ["0123"]})


@few
@given(PURCHASES, st.sampled_from(["", "/", "?scrape_do_intent=0", "#x"]))
def test_token_is_hidden_in_answers(purchase, end):
    url = make_url(BASE, KEY, purchase) + end
    for spelled in (url, url.upper()):
        hidden = hide_token(spelled)
        assert read_purchase(urlsplit(hidden).path, [KEY]) is None
        assert hidden == spelled[: len(url) - len(end) - 64] + "***" + spelled[len(url) - len(end) :]
        assert hide_token(f"no answer from {spelled}: 500, {spelled}") == f"no answer from {hidden}: 500, {hidden}"


@pytest.mark.parametrize("url", ["", "https://shop.example/", f"https://shop.example/{uuid.UUID(int=0)}-0-1-abc"])
def test_other_webhooks_are_shown(url):
    assert hide_token(url) == url
