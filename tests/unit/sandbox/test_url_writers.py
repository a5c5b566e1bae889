from __future__ import annotations

import pytest

from scrape_do_sandbox.options import WRITER_NAMES, SandboxOptions
from scrape_do_sandbox.url_writers import WRITERS, write_url

#: URL, and the spelling of each writer: verbatim is the URL itself, pydantic writes as WHATWG does.
_TABLE = [
    # url, whatwg, go, go_encode, idna2003
    ("HTTPS://Shop.Example", "https://shop.example/", "https://Shop.Example", None, "https://shop.example/"),
    ("https://a.example:443/", "https://a.example/", "https://a.example:443/", None, "https://a.example/"),
    ("https://a.example:8443/", "https://a.example:8443/", "https://a.example:8443/", None, "https://a.example:8443/"),
    (
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://b%C3%BCcher.example/",
        None,
        "https://xn--bcher-kva.example/",
    ),
    (
        "https://faß.example/",
        "https://xn--fa-hia.example/",
        "https://fa%C3%9F.example/",
        None,
        "https://fass.example/",
    ),
    (
        "https://a.example/straße?q=straße#straße",
        "https://a.example/stra%C3%9Fe?q=stra%C3%9Fe#stra%C3%9Fe",
        "https://a.example/stra%C3%9Fe?q=straße#stra%C3%9Fe",
        "https://a.example/stra%C3%9Fe?q=stra%C3%9Fe#stra%C3%9Fe",
        "https://a.example/stra%C3%9Fe?q=stra%C3%9Fe#stra%C3%9Fe",
    ),
    (
        "https://a.example/?q=men's",
        "https://a.example/?q=men%27s",
        "https://a.example/?q=men's",
        "https://a.example/?q=men%27s",
        "https://a.example/?q=men's",
    ),
    (
        "http://[2001:DB8:0:0::1]:80/",
        "http://[2001:db8::1]/",
        "http://[2001:DB8:0:0::1]:80/",
        None,
        "http://[2001:db8:0:0::1]/",
    ),
    ("https://a.example/?", "https://a.example/?", "https://a.example/?", None, "https://a.example/"),
    ("https://a.example/#", "https://a.example/#", "https://a.example/", None, "https://a.example/"),
    # A valid spelling stays. An invalid one is decoded and escaped again.
    ("https://a.example/%7eb%c3%bc", "https://a.example/%7eb%c3%bc", "https://a.example/%7eb%c3%bc", None, None),
    (
        "https://a.example/%7e%2f/ü",
        "https://a.example/%7e%2f/%C3%BC",
        "https://a.example/~//%C3%BC",
        None,
        "https://a.example/%7e%2f/%C3%BC",
    ),
    (
        "https://a.example/[x]!'(*)|",
        "https://a.example/[x]!'(*)|",
        "https://a.example/%5Bx%5D%21%27%28%2A%29%7C",
        None,
        "https://a.example/[x]!'(*)%7C",
    ),
    ("https://a.example/[x]!'(*)", "https://a.example/[x]!'(*)", "https://a.example/[x]!'(*)", None, None),
    (
        "https://a.example/#/p/1?x=[|",
        "https://a.example/#/p/1?x=[|",
        "https://a.example/#/p/1?x=%5B%7C",
        None,
        "https://a.example/#/p/1?x=[%7C",
    ),
    (
        "https://a.example/a b?x=a b&y=a+b&z=a%20b",
        "https://a.example/a%20b?x=a%20b&y=a+b&z=a%20b",
        "https://a.example/a%20b?x=a b&y=a+b&z=a%20b",
        "https://a.example/a%20b?x=a+b&y=a+b&z=a+b",
        "https://a.example/a%20b?x=a%20b&y=a+b&z=a%20b",
    ),
    (
        "https://a.example/?b=2&a=1&b=1&c&=x&a;b=1&d=%zz&&e=%7E",
        "https://a.example/?b=2&a=1&b=1&c&=x&a;b=1&d=%zz&&e=%7E",
        "https://a.example/?b=2&a=1&b=1&c&=x&a;b=1&d=%zz&&e=%7E",
        "https://a.example/?=x&a=1&b=2&b=1&c=&e=~",
        None,
    ),
    # A query of nothing but broken pairs leaves no question mark.
    ("https://a.example/?;", "https://a.example/?;", "https://a.example/?;", "https://a.example/", None),
    ("https://a.example/??", "https://a.example/??", "https://a.example/??", "https://a.example/?%3F=", None),
    (
        "https://me:p%40ss@a.example/",
        "https://me:p%40ss@a.example/",
        "https://me:p%40ss@a.example/",
        None,
        None,
    ),
    ("https://a.example/x/../y/./z", "https://a.example/y/z", "https://a.example/x/../y/./z", None, None),
]


@pytest.mark.parametrize("row", _TABLE, ids=[row[0] for row in _TABLE])
def test_each_writer_has_its_own_spelling(row):
    url, whatwg, go, go_encode, idna2003 = row
    expected = {
        "verbatim": url,
        "whatwg": whatwg,
        "pydantic": whatwg,
        "go": go,
        "go_encode": go if go_encode is None else go_encode,
        "idna2003": url if idna2003 is None else idna2003,
    }
    assert {writer: write_url(url, writer) for writer in WRITERS} == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/%zz",
        "https://a.example/#%",
        "https://a%41.example/",
        "https://a b.example/",
        "https://a.example:x/",
        "https://[::1/",
        "https://[::1]x/",
        "https://[nonsense]/",
        "https://m e@a.example/",
        "https://a.example/\t",
        "https:a.example",
        "//a.example/",
        "1https://a.example/",
    ],
)
def test_go_leaves_what_it_cannot_read_as_it_is(url):
    assert write_url(url, "go") == write_url(url, "go_encode") == url


@pytest.mark.parametrize("url", ["https://a b.example/", "https://[::1/", "https://"])
def test_no_writer_fails(url):
    assert {write_url(url, writer) for writer in ("whatwg", "pydantic", "go")} == {url}
    assert isinstance(write_url("https://.a.example/", "idna2003"), str)


def test_pydantic_alone_refuses_long_urls():
    url = f"https://a.example/?q={'ü' * 2_100}"
    assert write_url(url, "pydantic") == url
    assert "%C3%BC" in write_url(url, "whatwg")


def test_an_option_names_each_writer():
    assert tuple(WRITERS) == WRITER_NAMES
    assert all(SandboxOptions(urls=writer).urls == writer for writer in WRITERS)
