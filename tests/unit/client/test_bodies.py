"""Test the body of one answer: it is decoded and counted, and memory never exceeds the limit."""

from __future__ import annotations

import gzip
import json
import zlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.client.bodies import ERROR_BYTES, BodyIntake, ReceivedBody

PAGE = b'{"Content":"' + bytes(range(35, 92)) * 4000 + b'"}'
BIG = 10_000_000


def raw_deflate(data):
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


FORMS = {
    "": lambda data: data,
    "identity": lambda data: data,
    " Identity , ": lambda data: data,
    "gzip": gzip.compress,
    "GZip": gzip.compress,
    "x-gzip": gzip.compress,
    "identity, gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate ": raw_deflate,
    "x-deflate": zlib.compress,
    " gzip": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
    "gzip,": lambda data: gzip.compress(data) + b"\0\0\0",
    "gzip ": lambda data: gzip.compress(data) + b"\x1f",
    "deflate,": lambda data: zlib.compress(data) + b"more",
}


def received(raw, encoding="", *, status=200, limit=BIG, step=None):
    intake = BodyIntake(status, {"content-encoding": encoding}, limit)
    for start in range(0, len(raw), step or max(len(raw), 1)):
        list(intake.take_chunk(raw[start : start + step] if step else raw))
        if not intake.wants_more:
            break
    return intake.finish_body()


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize("encoding", FORMS)
def test_a_body_comes_out_as_it_went_in(encoding, step):
    page = PAGE[:3000] if step == 1 else PAGE
    assert received(FORMS[encoding](page), encoding, step=step) == ReceivedBody(page)


@given(st.binary(max_size=300_000), st.sampled_from(sorted(FORMS)), st.integers(1, 100_000))
def test_any_body_comes_out_in_any_chunks(data, encoding, step):
    raw = FORMS[encoding](data)
    # Deflate without its header may begin like JSON. A test below covers the case of real JSON.
    if raw and not (encoding == "deflate " and raw.startswith((b"{", b"["))):
        assert received(raw, encoding, step=step) == ReceivedBody(data)


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "br"])
def test_an_empty_body_is_empty_whatever_its_encoding(encoding):
    assert received(b"", encoding) == ReceivedBody(b"")


def test_raw_deflate_ending_on_a_chunk_is_read_completely():
    data = bytes(65_536 * 3)
    assert received(raw_deflate(data), "deflate", step=1) == ReceivedBody(data)


@pytest.mark.parametrize("encoding", ["br", "zstd", "utf-8", "gzip, gzip", "gzip, br", "compress"])
def test_other_encodings_are_named(encoding):
    assert received(b"\x8b\x00", encoding) == ReceivedBody(b"\x8b\x00", f"its encoding '{encoding}' cannot be decoded")


@pytest.mark.parametrize("encoding", ["utf-8", "none", "binary", "application/json", "identity, utf-8", "br", "zstd"])
@pytest.mark.parametrize("body", [b'{"Jobs":[]}', b" \r\n\t[1]", b'\xef\xbb\xbf{"a":1}'])
def test_json_with_unknown_encoding_label_is_used_unchanged(encoding, body):
    assert received(body, encoding, step=1) == ReceivedBody(body)


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("body", [b'{"Error":"no"}', b"[1, 2]"])
def test_json_that_a_gateway_inflated_is_used_as_it_stands(step, status, body):
    assert received(body, "deflate", step=step, status=status) == ReceivedBody(body)


@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_raw_deflate_of_json_never_looks_like_json(data):
    body = json.dumps({"Content": data}).encode()
    assert received(raw_deflate(body), "deflate") == ReceivedBody(body)


def test_the_name_of_an_encoding_is_shown_in_part():
    flaw = received(b"x", "\u00fc" * 10_000).flaw
    assert flaw.isascii()
    assert len(flaw) < 100


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("cut", [1, 10, -1, -5])
def test_a_body_that_is_cut_is_no_answer(encoding, cut):
    with pytest.raises(httpx.DecodingError, match=f"its {encoding} body ends too early"):
        received(FORMS[encoding](PAGE)[:cut], encoding)


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [("deflate", b"<html>not compressed</html>"), ("deflate", None), ("gzip", None)],
    ids=["plain", "damaged deflate", "damaged gzip"],
)
def test_a_corrupt_body_is_no_answer(encoding, raw):
    if raw is None:
        raw = bytearray(FORMS[encoding](PAGE))
        raw[-6 if encoding == "gzip" else -2] ^= 0xFF
    with pytest.raises(httpx.DecodingError, match=f"its {encoding} body is corrupt"):
        received(bytes(raw), encoding)


@pytest.mark.parametrize("step", [None, 1, 7])
def test_uncompressed_body_with_encoding_header_is_used_unchanged(step):
    """Use the body unchanged, because a gateway may decompress a body and leave the header."""
    assert received(PAGE, "gzip", step=step) == ReceivedBody(PAGE)


@pytest.mark.parametrize("status", [302, 404, 503])
def test_a_refusal_holds_without_its_body(status):
    assert received(b"<html>", "gzip", status=status) == ReceivedBody(b"<html>")
    assert received(b"<html>", "deflate", status=status).flaw.startswith("its deflate body is corrupt")
    assert received(gzip.compress(b"<html>")[:15], "gzip", status=status).flaw == "its gzip body ends too early"
    assert received(gzip.compress(b"<html>"), "gzip", status=status) == ReceivedBody(b"<html>")


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("step", [None, 1000])
def test_page_at_the_limit_is_read_and_larger_is_not(encoding, step):
    raw = FORMS[encoding](PAGE)
    assert received(raw, encoding, limit=len(PAGE), step=step) == ReceivedBody(PAGE)
    over = received(raw, encoding, limit=len(PAGE) - 1, step=step)
    assert over.limit == len(PAGE) - 1
    assert over.body
    assert PAGE.startswith(over.body)


def test_the_limit_holds_before_decompression_too():
    noise = gzip.compress(b"", mtime=0) * 1000
    assert received(noise, "gzip", limit=len(noise)) == ReceivedBody(b"")
    assert received(noise, "gzip", limit=len(noise) - 1) == ReceivedBody(b"", limit=len(noise) - 1)


def test_nothing_is_wanted_after_the_limit():
    intake = BodyIntake(200, {}, 10)
    list(intake.take_chunk(b"x" * 10))
    assert intake.wants_more
    list(intake.take_chunk(b"x"))
    assert not intake.wants_more


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_the_rest_of_a_long_refusal_is_dropped(encoding):
    page = b"e" * (ERROR_BYTES + 1)
    assert received(FORMS[encoding](page), encoding, status=404) == ReceivedBody(page[:-1])
    assert received(FORMS[encoding](page), encoding, status=404, limit=99) == ReceivedBody(page[:99])
