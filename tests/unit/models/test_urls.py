"""Test spellings of one URL, the digests of targets, and the order of answers."""

from __future__ import annotations

import random
import re
from collections import Counter
from urllib.parse import unquote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import HttpUrl

from scrape_do_celery.models import match_targets
from scrape_do_celery.models.urls import (
    coarse_digest,
    is_web_url,
    loose_form,
    strict_digest,
    whatwg_form,
    why_no_target,
)
from tests.support.time_limits import limit_time
from tests.support.url_writers import WRITERS, go, go_encode

HOSTS = [
    "a.example",
    "A.Example.",
    "bücher.example",
    "faß.example",
    "fass.example",
    "STRAẞE.example",
    "βόλος.example",
    "日本語。jp",
    "☃.example",
    "xn--bcher-kva.example",
    "[2001:DB8:0:0::1]",
    "1.2.3.4",
]
targets = st.builds(
    "{}://{}{}{}/{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP"]),
    st.sampled_from(["", "u@", "u:@", "u:P%40;@"]),
    st.sampled_from(HOSTS),
    st.sampled_from(["", ":", ":80", ":443", ":8080"]),
    st.text(alphabet="ab/+~ä%{}|^\"'()*[]&=:;,@!$-_.e2F", max_size=12),
    st.text(alphabet="ab&=+%'\"[]{}|^`ä/?:,@!$-_.e2F", max_size=12).map(lambda query: f"?{query}")
    | st.just("")
    | st.sampled_from(["?", "?b=1&a=2&b=0", "?q=men's", "?a;b=1", "?a=b=&c&&=d&=", "?q=a%26b%3Dc&a"]),
    st.sampled_from(["", "#", "#/p/1", "#/p/2", '#ä{}"%']),
).filter(lambda url: not why_no_target(url))
anything = st.one_of(
    st.text(max_size=40),
    targets,
    st.text(alphabet="htps:/.%2eEfF0~ ?#&=@äß\ud800\ud83d\ude00\\{}[]\t\x00", max_size=25).map("http://a{}".format),
)
#: Targets that a loose comparison confuses with each other.
POOL = [
    "https://app.example/#/p/1",
    "https://app.example/#/p/2",
    "https://app.example/",
    "https://faß.example/",
    "https://fass.example/",
    "https://shop.example/?q=a+b",
    "https://shop.example/?q=a%20b",
    "https://shop.example/?q=a%2Bb",
    "https://shop.example/a%2fb",
    "https://shop.example/a%2Fb",
    "https://shop.example/a/b",
    "https://shop.example/?q=men's",
    "https://shop.example/?q=men%27s",
    "https://shop.example/?b=1&a=2",
    "https://shop.example/?a=2&b=1",
    "https://shop.example/?a=1&a=2",
    "https://shop.example/?a=2&a=1",
    "https://shop.example/?",
    "https://shop.example",
    "https://shop.example:443/",
    "https://Bücher.example./ä",
    "https://bücher.example/ä",
    "http://[2001:DB8:0:0::1]/",
    "http://shop.example/x\\y",
    "http://shop.example/x%5Cy",
    "http://shop.example/x/y",
]


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("HTTP://Shop.Example", "http://shop.example/"),
        ("https://a:443/?q=men's#f'", "https://a/?q=men%27s#f'"),
        ("https://straße.example/", "https://xn--strae-oqa.example/"),
        ("http://b%C3%BCcher.example/", "http://xn--bcher-kva.example/"),
        ("http://[2001:DB8:0:0::1]/", "http://[2001:db8::1]/"),
        ("http://a/b/%2e%2E/c?", "http://a/c?"),
        ("http://a/\ud800x\udc00", "http://a/%EF%BF%BDx%EF%BF%BD"),
        ("http://a/\ud83d\ude00", "http://a/%F0%9F%98%80"),
        *[
            (same, same)
            for same in ("", "x", "http://", "http://a:99999/", "\ud800", '{"asin": "B0", "u": "http://x"}')
        ],
    ],
)
def test_the_form_is_that_of_a_whatwg_parser(url, form):
    assert whatwg_form(url) == form


@given(anything)
def test_a_form_never_raises_and_is_its_own(url):
    form = whatwg_form(url)
    assert whatwg_form(form) == form
    assert loose_form(url) == loose_form(form)


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://faß.example./?#f", "https://fass.example/"),
        ("https://ΒΌΛΟΣ.example/", "https://βόλοσ.example/"),
        ("https://xn--a/", "https://xn--a/"),
        ("https://xn--ü/", "https://xn--ü/"),
        (f"https://xn--{'b' * 60}/", f"https://xn--{'b' * 60}/"),
        ("http://u:P%40@[::1]:8080/a+b%2fc%5Cd", "http://[::1]:8080/a b/c/d"),
        ("http://a/%2541%25zz%252525/%FF%zz", "http://a/A%zz%/\ufffd%zz"),
        ("http://a/b%2F..%2Fc/%5C.", "http://a/c"),
        ("http://a//b/%5C%5C..%5Cc/", "http://a/b/c"),
        ("http://a/e%CC%81?e%CC%81", "http://a/\u00e9?\u00e9"),
        ("http://a/b%20?c%20#d", "http://a/b?c"),
        ("http://a/b%0A%09c%00%20", "http://a/bc"),
        ("http://a/b%23c?d", "http://a/b"),
        ("http://a/?c%23d&b", "http://a/?b&c"),
        ("http://a/?c&b=%20&a==&&b=1&=", "http://a/?a&b&b=1&c"),
        ("ftp://a/B%41", "ftp://a/B%41"),
        ('{"b": "%41"}', '{"b": "%41"}'),
    ],
)
def test_the_loose_form_has_all_escapes_decoded(url, form):
    assert loose_form(url) == form


@pytest.mark.parametrize(
    ("url", "string", "encoded"),
    [
        ("http://bücher.example/?q=ü", "http://b%C3%BCcher.example/?q=ü", "http://b%C3%BCcher.example/?q=%C3%BC"),
        ("HTTP://A.Example:80?", "http://A.Example:80?", "http://A.Example:80?"),
        (
            "http://a/%7e%2f{}|?b=men's&a=1+#x",
            "http://a/~/%7B%7D%7C?b=men's&a=1+#x",
            "http://a/~/%7B%7D%7C?a=1+&b=men%27s#x",
        ),
        ("http://a/%7e%2f", "http://a/%7e%2f", "http://a/%7e%2f"),
        ("http://u:p%40@[2001:DB8::1]:1/x", "http://u:p%40@[2001:DB8::1]:1/x", "http://u:p%40@[2001:DB8::1]:1/x"),
        ("http://a/x\\y?a", "http://a/x%5Cy?a", "http://a/x%5Cy?a="),
        ("http://a/?b=%20&a=+&b=%2B", "http://a/?b=%20&a=+&b=%2B", "http://a/?a=+&b=+&b=%2B"),
        *[
            (same, same, same)
            for same in ("http://a/100%", "http://ü@a/", "http://a:x/", "http://a%41/", "http://a\\b")
        ],
    ],
)
def test_url_written_by_go_is_the_same_target(url, string, encoded):
    assert (go(url), go_encode(url)) == (string, encoded)
    assert loose_form(string) == loose_form(encoded) == loose_form(url)


@pytest.mark.parametrize("writer", WRITERS)
@given(url=targets)
def test_every_spelling_shares_the_coarse_digest(writer, url):
    assert coarse_digest([WRITERS[writer](url)]) == coarse_digest([url])


def decoded(url):
    return unquote(url)


def quoted_again(url):
    return url.replace("%", "%25")


def redacted(url):
    return re.sub(r"^(\w+://[^/?#@]*):[^/?#@]*@", r"\1:xxxxx@", url)


def starred(url):
    return re.sub(r"^(\w+://[^/?#@]*):[^/?#@]*@", r"\1:***@", url)


def without_user(url):
    return re.sub(r"^(\w+://)[^/?#@]*@", r"\1", url)


def with_path(url, change):
    scheme, _, rest = url.partition("://")
    path, others = re.match(r"([^?#]*)(.*)", rest, re.DOTALL).groups()
    return f"{scheme}://{change(path)}{others}"


def without_last_slash(url):
    return with_path(url, lambda path: path.rstrip("/"))


def with_single_slashes(url):
    return with_path(url, lambda path: re.sub("/+", "/", path))


MANGLERS = [decoded, quoted_again, redacted, starred, without_user, without_last_slash, with_single_slashes]


@pytest.mark.parametrize("mangle", MANGLERS)
@given(url=targets)
def test_a_url_that_a_server_mangled_shares_the_coarse_digest(mangle, url):
    assert coarse_digest([mangle(url)]) == coarse_digest([url])


@pytest.mark.parametrize(
    ("target", "written"),
    [
        ("https://user:secret@a.example/0", "https://user:xxxxx@a.example/0"),
        ("https://user:secret@a.example/0", "https://user:***@a.example/0"),
        ("https://user:secret@a.example/0", "https://a.example/0"),
        ("https://a.example/e\u0301", "https://a.example/%C3%A9"),
        ("https://a.example/a%20b", "https://a.example/a%2520b"),
        ("https://a.example/a%20b?q=%C3%A4", "https://a.example/a b?q=ä"),
        ("https://a.example/%20", "https://a.example/ "),
        ("https://a.example/a?q=%20", "https://a.example/a?q= "),
        ("https://a.example/a%23b?q=1", "https://a.example/a#b?q=1"),
        ("https://a.example/a/", "https://a.example/a"),
        ("https://a.example//a", "https://a.example/a"),
        ("https://a.example/?x=1&y=%23", "https://a.example/?x=1&y=#"),
    ],
)
def test_other_writers_share_the_coarse_digest(target, written):
    assert why_no_target(target) is None
    assert coarse_digest([written]) == coarse_digest([target])


@pytest.mark.parametrize(
    "path", ["%25" * 100_000, "%20" * 100_000 + "x", "/" * 300_000, "/.." * 100_000, "%2525" * 60_000]
)
def test_a_hostile_url_is_loosened_in_time(path):
    with limit_time(5):
        loose_form(f"https://a.example/{path}?{path}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example/a b", True),
        ("HTTP://a.example", True),
        (" https://a.example/ ", True),
        ("https://a.example/\u00a0", True),
        ("", False),
        ("n/a", False),
        ("/p/1", False),
        ("http://[", False),
        ("http://a b/", False),
        ("ftp://a.example/", False),
        ("https://a.example/\ud800", False),
    ],
)
def test_text_is_a_url_if_a_parser_reads_it(text, expected):
    assert is_web_url(text) is expected


@given(anything)
def test_each_target_is_a_url(url):
    assert is_web_url(url) or why_no_target(url) is not None


@given(targets)
def test_url_written_by_pydantic_is_the_same_target(url):
    assume(len(url) <= 2083)
    written = str(HttpUrl(url))
    assert whatwg_form(written) == whatwg_form(url) or loose_form(written) == loose_form(url)
    assert match_targets([url, "https://else.example/"], ["https://else.example/", written]) == ([1, 0], True)


@given(st.lists(targets, max_size=3), st.lists(targets, max_size=3))
def test_the_strict_digest_is_that_of_the_whatwg_forms(mine, theirs):
    same = Counter(map(whatwg_form, mine)) == Counter(map(whatwg_form, theirs))
    assert (strict_digest(mine) == strict_digest(theirs)) is same


def test_digests_tell_their_version_and_ignore_the_order():
    two = ["https://a/", "https://b/#1"]
    for digest, version in ((strict_digest, "s2"), (coarse_digest, "c2")):
        assert digest(two) == digest(iter(two[::-1])) != digest([*two, two[0]])
        assert (digest([])[:2], len(digest(two))) == (version, 32)
    assert strict_digest(two) != strict_digest(["https://a/", "https://b/#2"])
    assert coarse_digest(two) == coarse_digest(["https://a/", "https://b/#2"])


def test_the_pool_has_what_is_mistaken_for_each_other():
    assert len(set(map(loose_form, POOL))) < len(set(map(whatwg_form, POOL))) < len(POOL)
    assert [url for url in POOL if why_no_target(url)] == []


@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_that_is_proven_is_wrong(writer):
    rng = random.Random(f"order {writer}")
    proven = 0
    for _ in range(300):
        wanted = rng.choices(POOL, k=rng.randint(1, 8))
        shuffled = rng.sample(range(len(wanted)), len(wanted))
        positions, verified = match_targets(wanted, [WRITERS[writer](wanted[at]) for at in shuffled])
        assert sorted(positions) == list(range(len(wanted)))
        if verified:
            proven += 1
            pages = [wanted[shuffled[position]] for position in positions]
            assert list(map(whatwg_form, pages)) == list(map(whatwg_form, wanted))
    assert proven == 300 if writer == "verbatim" else proven > 60


@pytest.mark.parametrize("writer", WRITERS)
def test_tasks_without_an_equal_target_are_proven(writer):
    wanted = [f"https://faß{n}.example/Ä {n}?b=men's&a={n}#f".replace(" ", "%20") for n in range(20)]
    shuffled = random.Random(1).sample(range(20), 20)
    positions, verified = match_targets(wanted, [WRITERS[writer](wanted[at]) for at in shuffled])
    assert verified
    assert [shuffled[position] for position in positions] == list(range(20))


@given(st.lists(st.sampled_from(POOL), max_size=7), st.lists(st.sampled_from([*POOL, "", "x"]), max_size=7))
@settings(max_examples=300)
def test_each_url_comes_once_unless_equal_targets_share_it(wanted, found):
    positions, verified = match_targets(wanted, found)
    if verified:
        assert [loose_form(found[at]) for at in positions] == list(map(loose_form, wanted))
        assert set(positions) == set(range(len(found)))
    else:
        assert sorted(positions) == list(range(len(found)))


A, B, C, X, Y = (f"https://{name}.example/" for name in "abcxy")


@pytest.mark.parametrize(
    ("wanted", "found", "positions", "verified"),
    [
        ([], [], [], True),
        ([A, B], [B, A], [1, 0], True),
        ([A, B, A], [A, A, B], [0, 2, 1], True),
        # Hash routes that a server cuts off, and hosts that it folds, prove nothing. Other targets beside them are
        # proven.
        ([f"{A}#1", f"{A}#2", B], [B, A, A], [2, 1, 0], False),
        ([f"{A}#1", f"{A}#2"], [f"{A}#2", f"{A}#1"], [1, 0], True),
        ([f"{A}#1", f"{A}#1", B], [B, A, A], [1, 2, 0], True),
        (["https://faß.example/", "https://fass.example/"], ["https://fass.example/"] * 2, [0, 1], False),
        # A URL that matches no target keeps its position if the position is free.
        ([A, B, C], [X, C, Y], [0, 2, 1], False),
        ([A, B, C], [C, X, Y], [2, 1, 0], False),
        ([A, B], [B, X], [1, 0], False),
        ([A, B], ["", ""], [0, 1], False),
        # A server that answers equal targets with one task.
        ([A, B, A], [B, A], [1, 0, 1], True),
        ([A, A, f"{A}#"], [A, f"{A}#"], [0, 0, 1], True),
        ([A, A.upper(), B], [B, A], [1, 1, 0], True),
        ([f"{A}#1", f"{A}#2"], [A], [0], False),
        ([A, A, A], [A, A], [0, 1], False),
        # Too few and too many answers.
        ([A, B, C], [C, A], [1, 0], False),
        ([A, A, B], [A, X], [0, 1], False),
        ([A], [X, A], [1, 0], False),
        ([A], [A, A], [0, 1], False),
        ([], [A], [0], False),
    ],
)
def test_the_order_of_answers(wanted, found, positions, verified):
    assert match_targets(wanted, found) == (positions, verified)
