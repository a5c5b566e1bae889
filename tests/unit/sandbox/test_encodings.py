from __future__ import annotations

import gzip
import json
import zlib

import pytest

from scrape_do_sandbox.encodings import ENCODINGS
from scrape_do_sandbox.faults import FaultRule
from scrape_do_sandbox.response_faults import apply_header_faults
from scrape_do_sandbox.views import json_response

BODY = {"Content": "x" * 100}


def encoded(name, **rule):
    answer = json_response(200, BODY)
    apply_header_faults(answer, [FaultRule(action="slow"), FaultRule(action="encoding", value=name, **rule)])
    return answer


@pytest.mark.parametrize("name", ENCODINGS)
def test_each_encoding_has_its_label(name):
    answer = encoded(name, size=2_000_000)
    assert answer.headers["Content-Encoding"] == ENCODINGS[name][0]
    assert answer.content_length == len(answer.body)


@pytest.mark.parametrize(
    ("name", "decode"),
    [
        ("gzip", gzip.decompress),
        ("gzip_upper", gzip.decompress),
        ("x_gzip", gzip.decompress),
        ("gzip_parts", gzip.decompress),
        ("deflate", zlib.decompress),
        ("raw_deflate", lambda body: zlib.decompress(body, -zlib.MAX_WBITS)),
        ("gzip_twice", lambda body: gzip.decompress(gzip.decompress(body))),
        ("identity", bytes),
        ("br_label", bytes),
        ("zstd_label", bytes),
        ("gzip_label", bytes),
        ("unknown_label", bytes),
    ],
)
def test_the_body_is_still_there(name, decode):
    assert json.loads(decode(encoded(name).body)) == BODY


def test_a_bomb_is_small_and_decodes_to_its_size():
    bomb = encoded("gzip_bomb", size=20_000_000).body
    text = gzip.decompress(bomb)
    assert len(bomb) < 30_000
    assert len(text) > 20_000_000
    assert json.loads(text) == BODY


@pytest.mark.parametrize("name", ["gzip_cut", "gzip_bad_sum"])
def test_broken_gzip_cannot_be_decoded(name):
    with pytest.raises((EOFError, gzip.BadGzipFile)):
        gzip.decompress(encoded(name).body)


def test_gzip_with_trailing_bytes_or_no_body():
    assert encoded("gzip_trailing").body.endswith(b"trailing")
    assert encoded("gzip_empty").body == b""


def test_header_lines_are_as_long_as_asked():
    answer = json_response(200, {})
    apply_header_faults(answer, [FaultRule(action="headers")])
    assert len(f"X-Sandbox-Filler: {answer.headers['X-Sandbox-Filler']}") == 9_000
    apply_header_faults(answer, [FaultRule(action="headers", size=60_000, headers={"A": "b"})])
    assert len(f"X-Sandbox-Filler: {answer.headers['X-Sandbox-Filler']}") == 60_000
    assert answer.headers["A"] == "b"
    plain = json_response(200, {})
    apply_header_faults(plain, [FaultRule(action="headers", headers={"A": "b"})])
    assert plain.headers == {"Content-Type": "application/json", "Content-Length": "2", "A": "b"}
