from __future__ import annotations

import json

import pytest

from scrape_do_celery.sandbox.pages import PLAIN, Magic, make_page, read_magic


def test_a_page_is_the_same_whenever_it_is_asked_for_and_another_for_another_url():
    one = make_page("https://a.example/<1>")
    assert one == make_page("https://a.example/<1>")
    assert one.body != make_page("https://a.example/2").body
    assert b"<title>" in one.body
    assert b"https://a.example/&lt;1&gt;" in one.body


@pytest.mark.parametrize(
    ("query", "magic"),
    [
        ("", PLAIN),
        ("?q=shoes", PLAIN),
        ("?sandbox=error", Magic(error=True)),
        ("?status=404&size=200000", Magic(status=404, size=200_000)),
        ("?binary=1&seconds=3.5", Magic(binary=True, seconds=3.5)),
        ("?gone=410", Magic(gone=410)),
        ("?gone=404", Magic(gone=404)),
        ("?status=open&size=XL&seconds=-1&gone=yes", PLAIN),
    ],
)
def test_wishes_in_the_query_string(query, magic):
    assert read_magic(f"https://a.example/{query}") == magic


def test_a_size_is_met_exactly_unless_the_page_is_larger():
    url = "https://a.example/?size=200000"
    assert len(make_page(url, read_magic(url)).body) == 200_000
    assert len(make_page("https://a.example/?size=1", Magic(size=1)).body) > 1


def test_binary_content_is_random_but_fixed():
    page = make_page("https://a.example/?binary=1", Magic(binary=True, size=100))
    assert (len(page.body), page.text) == (100, False)
    assert page == make_page("https://a.example/?binary=1", Magic(binary=True, size=100))


def test_a_plugin_entry_gives_json():
    page = make_page("https://plugin.sandbox.test/amazon/pdp?asin=A1")
    assert json.loads(page.body) == {"plugin": "amazon/pdp", "params": {"asin": "A1"}, "sandbox": True}
