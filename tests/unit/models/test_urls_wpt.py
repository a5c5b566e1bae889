"""Test URLs from web-platform-tests, and the targets that are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.models.urls import whatwg_form, why_no_target
from scrape_do_celery.models.urls_refused import TargetRefusal, find_refusal
from tests.support.wpt_cases import cases

#: Rules of our own. All other rules refuse only URLs that the parser refuses.
OURS = {"CONTROL_OR_WHITESPACE", "SCHEME", "NO_SLASHES", "EMPTY_LABEL", "LABEL_LENGTH", "HOST_LENGTH"}


@pytest.mark.parametrize(("name", "count"), [("urltestdata", 555), ("toascii", 87), ("IdnaTestV2", 2671)])
def test_all_cases_of_web_platform_tests(name, count):
    read = cases()[name]
    assert len(read) == count
    wrong = [
        url
        for url, form in read
        if whatwg_form(url) != (url if form is None else form) or (form is None and why_no_target(url) is None)
    ]
    assert wrong == []


def test_stricter_refusals_follow_a_listed_rule():
    beyond = {find_refusal(url) for read in cases().values() for url, form in read if form is not None} - {None}
    assert {rule.name for rule in beyond} <= OURS
    assert {
        TargetRefusal.SCHEME,
        TargetRefusal.NO_SLASHES,
        TargetRefusal.EMPTY_LABEL,
        TargetRefusal.LABEL_LENGTH,
    } <= beyond


LABEL = "b" * 63
HOST = ".".join(["b" * 49] * 5)


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "HTTPS://EXAMPLE.com:443/a/../b?x=ü#frag",
        "http://user:pw@[::1]:8080/",
        "http://bücher.example./ä",
        "http://a_b.example/",
        f"http://{LABEL}.example/",
        f"http://{HOST}.abc./",
        "http://a:65535/",
        "http://a:000000080/",
        "http://a:/",
        "http://0x7f.1/",
        "http://a/" + "b" * 1_000_000,
        "http://a\\b",
    ],
)
def test_good_targets(url):
    assert why_no_target(url) is None


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "SCHEME"),
        ("shop.example/p", "SCHEME"),
        ("ftp://shop.example/", "SCHEME"),
        ("httpx://a/", "SCHEME"),
        ("http:a", "NO_SLASHES"),
        ("http:/a/b", "NO_SLASHES"),
        ("http:\\\\a", "NO_SLASHES"),
        ("http:?u=http://b", "NO_SLASHES"),
        ("http://", "NO_HOST"),
        ("http:///a", "NO_HOST"),
        ("http://u@:80/", "NO_HOST"),
        ("http://\\a/", "NO_HOST"),
        ("http://?a", "NO_HOST"),
        ("http://a/b c", "CONTROL_OR_WHITESPACE"),
        ("http://a/\u2028", "CONTROL_OR_WHITESPACE"),
        ("http://a/\x9f", "CONTROL_OR_WHITESPACE"),
        ("http://a/\ud800", "LONE_SURROGATE"),
        ("http://a/\ud83d\ude00", "LONE_SURROGATE"),
        ("http://a:0/", "PORT"),
        ("http://a:65536/", "PORT"),
        ("http://a:x/", "PORT"),
        ("http://a:²/", "PORT"),
        ("http://[::1]:x/", "PORT"),
        ("http://a:" + "9" * 5000, "PORT"),
        ("http://a:" + "0" * 5000 + "80b/", "PORT"),
        ("http://1.2.3.256/", "IPV4"),
        ("http://1.2.3.4.5/", "IPV4"),
        ("http://a.0x1.:80/", "IPV4"),
        ("http://[::1", "IPV6"),
        ("http://[::g]/", "IPV6"),
        ("http://[::g]:80/", "IPV6"),
        ("http://[::x/", "IPV6"),
        ("http://a%41%00/", "HOST"),
        ("http://xn--ü/", "HOST"),
        ("http://a|b:80/", "HOST"),
        ("http://a..b/", "EMPTY_LABEL"),
        ("http://.a/", "EMPTY_LABEL"),
        ("http://a../", "EMPTY_LABEL"),
        ("http://./", "EMPTY_LABEL"),
        ("http://a。。b/", "EMPTY_LABEL"),
        (f"http://{LABEL}b.example/", "LABEL_LENGTH"),
        (f"http://{'ü' * 60}.example/", "LABEL_LENGTH"),
        (f"http://{HOST}.abcd/", "HOST_LENGTH"),
    ],
)
def test_a_bad_target_is_refused_by_its_rule(url, rule):
    assert find_refusal(url) is TargetRefusal[rule]
    assert why_no_target(url) == TargetRefusal[rule].value
    assert len(url) < 8 or url not in why_no_target(url)


@given(st.one_of(st.text(), st.text(alphabet="[]:.@/\\%0a9xg", max_size=12).map("http://{}".format)))
def test_a_target_that_is_taken_has_a_form(url):
    assert why_no_target(url) is not None or whatwg_form(url).startswith(("http://", "https://"))
