"""URLs that are the same, and the order of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import HttpUrl

from scrape_do_celery.models import fingerprint, normalise, order

if TYPE_CHECKING:
    import random

paths = st.text(alphabet="ab/.%2eEfF0~-_ ?#&=+:@äß\ud800\\{}\"'", max_size=25)
urls = st.builds(
    "{}://{}{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP", "ftp"]),
    st.sampled_from(["", "u:p@", "ü%41@"]),
    st.sampled_from(
        ["a.example", "A.Example.", "bücher.example", "[::1]", "[::1", "1.2.3.4", "", "a..b", "x" * 70 + "ü"]
    ),
    st.sampled_from(["", ":", ":80", ":443", ":8080", ":99999", ":x"]),
    paths,
)
good = st.builds("https://a.example/{}".format, st.text(alphabet="abc%2E./", max_size=8))


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTP://Shop.Example", "http://shop.example/"),
        ("http://a:80/", "http://a/"),
        ("https://a:443/", "https://a/"),
        ("https://a:80/", "https://a:80/"),
        ("http://a:/", "http://a/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://a/ü", "http://a/%C3%BC"),
        ("http://a/%c3%bc?q=ü b", "http://a/%C3%BC?q=%C3%BC%20b"),
        ("http://a/%7Eb%2fc", "http://a/~b%2Fc"),
        ("http://a/100%", "http://a/100%25"),
        ("http://a/b/../c/./d", "http://a/c/d"),
        ("http://a/b/%2e%2E/c", "http://a/c"),
        ("http://a/b/..", "http://a/"),
        ("http://a/b/c/..", "http://a/b/"),
        ("http://a/..", "http://a/"),
        ("http://a/b//c", "http://a/b//c"),
        ("http://a/x.html?y=../z", "http://a/x.html?y=../z"),
        ("http://a?x=1#frag", "http://a/?x=1"),
        ("http://a/#", "http://a/"),
        ("http://u:P%41@A/", "http://u:PA@a/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://a/\ud800", "http://a/%ED%A0%80"),
    ],
)
def test_normalise(url, normal):
    assert normalise(url) == normal


@pytest.mark.parametrize("url", ["", "x", "ftp://a/B", "http://", "http://[::1", "http://a:99999/", "amazon/pdp"])
def test_what_is_no_url_comes_back(url):
    assert normalise(url) == url


@given(urls)
def test_normalise_is_idempotent_and_never_raises(url):
    assert normalise(normalise(url)) == normalise(url)


@given(st.text(max_size=40))
def test_normalise_takes_anything(text):
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    "url",
    ["HTTP://A.Example:80", "https://bücher.example/ä?b=ö c", "http://a.example/b/../c/%7E", "https://a.example/x?"],
)
def test_what_the_peer_would_send_is_the_same_url(url):
    assert normalise(str(HttpUrl(url))) == normalise(url)


def test_fingerprint_counts_duplicates_and_ignores_order():
    assert fingerprint(["http://a", "http://b"]) == fingerprint(["http://B/", "HTTP://a:80"])
    assert fingerprint(["http://a"]) != fingerprint(["http://a", "http://a"])
    assert len(fingerprint([])) == 32


@given(st.lists(good, max_size=8))
def test_order_by_position(targets):
    assert order(targets, [url.replace("https", "HTTPS") for url in targets]) == (list(range(len(targets))), True)


@given(st.lists(good, max_size=8), st.randoms())
def test_order_finds_shuffled_urls(targets, rng: random.Random):
    shuffled = rng.sample(targets, len(targets))
    positions, verified = order(targets, shuffled)
    assert verified
    assert sorted(positions) == list(range(len(targets)))
    assert [normalise(shuffled[position]) for position in positions] == [normalise(url) for url in targets]
    for url in set(map(normalise, targets)):
        places = [place for place, target in zip(positions, targets, strict=True) if normalise(target) == url]
        assert normalise(targets[0]) == normalise(shuffled[0]) or places == sorted(places)


@given(st.lists(good, max_size=6), st.lists(st.one_of(good, st.just("")), max_size=6))
def test_order_gives_each_position_once(targets, found):
    positions, verified = order(targets, found)
    assert sorted(positions) == list(range(len(found)))
    if verified:
        assert sorted(map(normalise, targets)) == sorted(map(normalise, found))
    else:
        assert positions == list(range(len(found)))


def test_order_that_cannot_be_proven():
    assert order(["http://a", "http://b"], ["http://b", "http://c"]) == ([0, 1], False)
    assert order(["http://a"], ["http://a", "http://a"]) == ([0, 1], False)
    assert order(["http://a", "http://a"], ["http://b", "http://a"]) == ([0, 1], False)
