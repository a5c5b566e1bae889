"""Fuzz the core of receivers with calls, paths, headers and bodies of strangers, proxies and broken senders."""

from __future__ import annotations

import hmac
import json
import tracemalloc
from types import SimpleNamespace
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrape_do_celery.models import WebhookPayload
from scrape_do_celery.models.parsing import clean_text
from scrape_do_celery.rules import webhook_tokens
from scrape_do_celery.rules.webhook_tokens import HEADER, PurchaseId, is_secret, make_secret, make_url, read_purchase
from scrape_do_celery.webhooks import core
from scrape_do_celery.webhooks.core import Answer, HintReason, Receiver
from scrape_do_sandbox.encodings import encode_body
from scrape_do_sandbox.mutations import MISSING, MUTATION_NAMES, mutate_at

KEYS = (b"0123456789abcdef" * 2, b"fedcba9876543210" * 2)
PURCHASES = (
    PurchaseId("0f0e0d0c-1111-4222-8333-444455556666", 0, 1),
    PurchaseId("0f0e0d0c-1111-4222-8333-444455556666", 0, 2),
    PurchaseId("a run of the caller/\u00fc", 12, 34),
)
PATHS = {
    urlsplit(make_url("https://shop.example/hooks", key, purchase)).path: purchase
    for key in KEYS
    for purchase in PURCHASES
}
SECRETS = {purchase: {make_secret(key, purchase) for key in KEYS} for purchase in PURCHASES}
LIMIT = 65_536
PAGE = '<html>\u00fc \\ "quoted" \U0001f600</html>'
TASK = {
    "TaskID": "t0",
    "JobID": "j",
    "URL": "https://a.example/",
    "Status": "success",
    "StatusCode": 200,
    "Base64EncodedContent": False,
    "ResponseHeaders": {"Content-Type": "text/html"},
    "Scrape.do": {"Request-Cost": "1"},
    "Content": PAGE,
    "StartTime": "2026-11-22T09:14:03Z",
}
#: Characters that proxies, servers and attackers change in a path.
CHARACTERS = st.sampled_from(
    [*"0123456789abcdefABCDEFxgG-_.~%/;?#@ +\\\0", "\u017f", "\u212a", "\uff10", "\ud800", "\u00fc"]
)


# Paths


@st.composite
def mutated_paths(draw):
    """Return a path of a webhook after some edits."""
    path = list(draw(st.sampled_from([*PATHS])))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(path) - 1))
        edit = draw(st.sampled_from(["replace", "insert", "delete", "swap", "encode", "upper", "cut", "join"]))
        if edit == "replace":
            path[place] = draw(CHARACTERS)
        elif edit == "insert":
            path.insert(place, draw(CHARACTERS))
        elif edit == "delete":
            path[place] = ""
        elif edit == "swap":
            path[place - 1], path[place] = path[place], path[place - 1]
        elif edit == "encode":
            path[place] = "".join(f"%{byte:02x}" for byte in path[place].encode("utf-8", "surrogatepass"))
        elif edit == "upper":
            path[place:] = [one.upper() for one in path[place:]]
        elif edit == "cut":
            path = path[:place] or [""]
        else:
            path += ["/", *draw(st.sampled_from([*PATHS]))]
    return "".join(path)


def named_purchase(path):
    """Return the purchase of a path, by the rule alone: only case and escapes of the last segment may differ."""
    segment = unquote(path).rstrip("/").rpartition("/")[2]
    made = {made.rpartition("/")[2]: purchase for made, purchase in PATHS.items()}
    return made.get(segment.lower()) if segment.isascii() else None


@settings(max_examples=300)
@given(mutated_paths() | st.text(max_size=200), st.sampled_from(["POST", "GET", "post", "P\u00d6ST", "", "POST "]))
def test_mutated_path_is_never_accepted(path, method):
    found = Receiver(KEYS, trusts_content=True).judge_call(method, path, [])
    wanted = named_purchase(path)
    if wanted is None:
        assert found == core.FORBIDDEN
    elif method.upper() != "POST":
        assert found == core.NOT_ALLOWED
    else:
        assert found.finish().purchase == wanted


@settings(max_examples=150)
@given(st.data())
def test_each_changed_character_of_a_token_matters(data):
    path, purchase = data.draw(st.sampled_from([*PATHS.items()]))
    text = path.rpartition("/")[2]
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("0123456789abcdefx-").filter(lambda one: one != text[place]))
    assert read_purchase(f"/hooks/{text[:place]}{other}{text[place + 1 :]}", KEYS) is None
    secret = data.draw(st.sampled_from(sorted(SECRETS[purchase])))
    place %= len(secret)
    assert not is_secret(f"{secret[:place]}{other}{secret[place + 1 :]}", KEYS, purchase) or other == secret[place]


@pytest.mark.parametrize("keys", [KEYS, KEYS[::-1], KEYS * 3], ids=len)
@pytest.mark.parametrize("signer", [*KEYS, b"x" * 32], ids=["first", "second", "unknown"])
def test_each_key_is_compared_in_constant_time(monkeypatch, keys, signer):
    compared = []

    def compare(one, two):
        compared.append((one, two))
        return hmac.compare_digest(one, two)

    # All of the module's uses of `hmac` are these two.
    monkeypatch.setattr(webhook_tokens, "hmac", SimpleNamespace(compare_digest=compare, new=hmac.new))
    purchase = PURCHASES[0]
    path = urlsplit(make_url("https://a.example", signer, purchase)).path
    assert read_purchase(path, keys) == (purchase if signer in keys else None)
    assert len(compared) == len(keys)
    assert is_secret(make_secret(signer, purchase), keys, purchase) is (signer in keys)
    assert len(compared) == 2 * len(keys)


# Bodies and headers


def encode_json(value):
    return b"" if value is MISSING else json.dumps(value).encode()


def damaged(body, edits):
    body = bytearray(body)
    for place, byte in edits:
        if body:
            body[place % len(body)] = byte
    return bytes(body)


TEXT = encode_json(TASK)
BODIES = st.one_of(
    st.just(TEXT),
    st.builds(
        lambda mutation, path: encode_json(mutate_at(TASK, mutation, path)),
        st.sampled_from(
            # The mutation of a megabyte is one of the test of the memory.
            [name for name in MUTATION_NAMES if name not in {"long_1m", "surplus_100k"}]
        ),
        st.sampled_from([*TASK, "$"]),
    ),
    st.builds(damaged, st.just(TEXT), st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), max_size=3)),
    st.builds(
        lambda value: json.dumps(TASK | value).encode("utf-8", "surrogatepass"),
        st.dictionaries(
            st.sampled_from([*TASK]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9), st.lists, max_leaves=5
            ),
            max_size=3,
        ),
    ),
    st.builds(lambda size: encode_json(TASK | {"Content": "a" * size}), st.integers(LIMIT - 600, LIMIT + 9)),
    st.binary(max_size=99),
)
ENCODINGS = st.sampled_from(
    [
        *("identity", "gzip", "gzip_upper", "x_gzip", "deflate", "raw_deflate", "gzip_twice", "gzip_parts"),
        *("gzip_trailing", "gzip_cut", "gzip_bad_sum", "gzip_empty", "gzip_label", "br_label", "unknown_label"),
    ]
)
NAMES = st.sampled_from([HEADER, HEADER.lower(), HEADER.upper(), f" {HEADER}", HEADER.replace("-", "_"), "Host", ""])
VALUES = st.one_of(
    st.sampled_from(sorted(secret for secrets in SECRETS.values() for secret in secrets)),
    st.sampled_from(["", "\udcff", "a, b", "\u00fc", "Bearer x", *(path[-64:] for path in PATHS)]),
    st.binary(max_size=9).map(lambda raw: raw.decode("latin-1")),
    st.text(max_size=9),
)
MORE = st.lists(
    st.tuples(NAMES, VALUES)
    | st.tuples(
        st.just("Content-Length"), st.sampled_from(["0", "7", str(LIMIT), "-1", "1e3", "\u0661"]) | st.text(max_size=5)
    )
    | st.tuples(st.text(max_size=9), st.text(max_size=9)),
    max_size=3,
)


@st.composite
def sizes(draw):
    """Return sizes of chunks, which may be empty."""
    some = st.lists(st.sampled_from([0, 1, 2, 7, 100, 4_096, 65_536, 200_000]), max_size=5)
    return [*draw(some), 9_999]


@settings(max_examples=250)
@given(
    st.sampled_from([*PATHS]), MORE, st.none() | st.sampled_from([0, 1, 2]), BODIES, ENCODINGS, sizes(), st.booleans()
)
def test_page_is_never_made_without_the_proof_and_the_body_as_sent(path, more, signer, body, coding, chunks, trusts):
    purchase = PATHS[path]
    label, sent = encode_body(body, coding, None)
    headers = [*more, ("Content-Encoding", label)]
    if signer is not None:
        headers.insert(0, (HEADER, [*sorted(SECRETS[purchase]), "0" * 64][signer]))
    judged = Receiver(KEYS, trusts, LIMIT).judge_call("POST", path, headers)
    assert not isinstance(judged, Answer)
    place = 0
    for at in range(10_000):
        if place >= len(sent) or not judged.wants_more:
            break
        size = chunks[at % len(chunks)]
        judged.take_chunk(sent[place : place + size])
        place += size
    found = judged.finish()
    assert found.purchase == purchase
    assert (found.page is None) == (found.reason is not None)
    given_secrets = [value.strip() for name, value in headers if name.strip().lower() == HEADER.lower()]
    is_proven = len(given_secrets) == 1 and given_secrets[0] in SECRETS[purchase]
    if found.reason is HintReason.HEADER_MISSING:
        assert not given_secrets
    if found.page is None:
        is_good = is_proven and trusts and body == TEXT and coding in {"identity", "gzip", "deflate", "gzip_parts"}
        assert not is_good or any(name.strip().lower() in {"content-length", "content-encoding"} for name, _ in more)
        return
    assert trusts
    assert is_proven
    assert max(len(sent), len(body)) <= LIMIT
    assert coding not in {"gzip_twice", "gzip_cut", "gzip_bad_sum", "gzip_empty"}
    # A page is read as a fetch of the same task would read it.
    assert found.page == WebhookPayload.from_answer(body)
    assert found.page.is_success
    assert found.page.decoded_content()
    assert (found.page.task_id, found.page.job_id) == (found.task_id, found.job_id)
    content = json.loads(body.decode("utf-8-sig", "replace"), strict=False).get("Content")
    assert not isinstance(content, str) or clean_text(content) == clean_text(found.page.content)


# Memory


def large_body(fill, size=2_000_000):
    head = encode_json({**TASK, "Content": "x"})[:-1]
    pattern, join, close = fill
    return head + b', "More": ' + join + pattern * ((size - len(head) - 20) // len(pattern)) + close + b"}"


FILLS = {
    "lists": (b"[],", b"[", b"0]"),
    "objects": (b"{},", b"[", b"0]"),
    "small objects": (b'{"":0},', b"[", b"0]"),
    "fractions": (b"1.5,", b"[", b"0]"),
    "texts": (b'"",', b"[", b"0]"),
    "one text": (b"y", b'"', b'"'),
    "escapes": (b"\\u00fc", b'"', b'"'),
    "escaped quotes": (b'\\"[],', b'"', b'"'),
    "escaped backslashes": (b'\\\\",[],"', b'"', b'"'),
    "brackets": (b"[", b"", b""),
    "wide text": (b"\xf0\x9f\x98\x80", b'"', b'"'),
}
_SMALL = 500_000


@pytest.mark.parametrize("has_secret", [True, False])
@pytest.mark.parametrize("fill", FILLS)
def test_memory_is_bounded_for_any_json(fill, has_secret):
    body = large_body(FILLS[fill], _SMALL)
    assert _SMALL * 0.9 < len(body) <= _SMALL
    path, purchase = next(iter(PATHS.items()))
    headers = [(HEADER, make_secret(KEYS[0], purchase))] if has_secret else []
    judged = Receiver(KEYS, trusts_content=True, max_bytes=_SMALL).judge_call("POST", path, headers)
    tracemalloc.start()
    try:
        for start in range(0, len(body), 65_536):
            judged.take_chunk(body[start : start + 65_536])
        found = judged.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 7 * _SMALL + 1_000_000
    assert found.page is None or fill in {"one text", "escapes", "escaped quotes", "wide text"}


def test_task_with_many_headers_is_read():
    headers = {f"X-Header-{number}": f'a, "b": [{number}]' for number in range(2_000)}
    body = encode_json({**TASK, "ResponseHeaders": headers, "Content": json.dumps([{"a": [1, 2]}] * 9_000)})
    path, purchase = next(iter(PATHS.items()))
    judged = Receiver(KEYS, trusts_content=True).judge_call("POST", path, [(HEADER, make_secret(KEYS[0], purchase))])
    judged.take_chunk(body)
    assert len(judged.finish().page.response_headers) == 2_000


@pytest.mark.parametrize("coding", ["gzip_bomb", "gzip_parts"])
@pytest.mark.parametrize("size", [1_000, 100_000])
def test_memory_is_bounded_for_any_coding(coding, size):
    """Chunks of a server are at most 64 kB or so; the coding may blow each of them up a thousand times."""
    _, sent = encode_body(TEXT * 1_000, coding, 10_000_000)
    path, purchase = next(iter(PATHS.items()))
    headers = [(HEADER, make_secret(KEYS[0], purchase)), ("Content-Encoding", "gzip")]
    judged = Receiver(KEYS, trusts_content=True, max_bytes=LIMIT).judge_call("POST", path, headers)
    tracemalloc.start()
    try:
        for start in range(0, len(sent), size):
            judged.take_chunk(sent[start : start + size])
        found = judged.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.reason is HintReason.TOO_LARGE
    assert peak < 5 * LIMIT + size


@settings(max_examples=60)
@given(st.text(min_size=1, max_size=30), st.integers(0, 10**9), st.integers(0, 10**9))
def test_webhook_of_any_run_is_read_back_behind_any_prefix(run_id, part, number):
    purchase = PurchaseId(run_id, part % 10**9, number % 10**9)
    path = urlsplit(make_url("https://a.example/deep/prefix", KEYS[0], purchase)).path
    for seen in (path, f"{path}/", quote(path), path.upper()):
        assert read_purchase(seen, KEYS[::-1]) == purchase
