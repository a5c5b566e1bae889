"""Test the digest that version 1 stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.models.urls_v1 import fingerprint, normalise


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTP://Shop.Example", "http://shop.example/"),
        ("http://a:80/", "http://a/"),
        ("https://a:80/", "https://a:80/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://a/%c3%bc?q=ü b", "http://a/%C3%BC?q=%C3%BC%20b"),
        ("http://a/%7Eb%2fc", "http://a/~b%2Fc"),
        ("http://a/100%", "http://a/100%25"),
        ("http://a/b/../c/./d", "http://a/c/d"),
        ("http://a/b/%2e%2E/c", "http://a/c"),
        ("http://a/b/..", "http://a/"),
        ("http://a/b/c/..", "http://a/b/"),
        ("http://a/x.html?y=../z#frag", "http://a/x.html?y=../z"),
        ("http://u:P%41@A/", "http://u:PA@a/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://a/\ud800", "http://a/%ED%A0%80"),
        *[(same, same) for same in ("", "x", "ftp://a/B", "http://", "http://[::1", "http://a:99999/")],
    ],
)
def test_the_form_is_that_of_version_1(url, normal):
    assert normalise(url) == normal


@given(st.text(max_size=40).map("http://{}".format))
def test_the_form_never_raises(url):
    assert normalise(normalise(url)) == normalise(url)


def test_the_digest_is_that_of_version_1():
    # Digests of the released version, because parts in a store carry them.
    assert fingerprint(["http://a", "http://b"]) == fingerprint(["http://B/", "HTTP://a:80"])
    assert fingerprint([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5"
    assert fingerprint(["https://shop.example/1?q=ü"]) == "75a41811b7748afccf3cfc87331ed74c"
