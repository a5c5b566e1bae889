from __future__ import annotations

import json

import pytest

from scrape_do_sandbox.pages import DEFAULT_PAGE, PageOptions, make_page, parse_page_options


def test_page_depends_only_on_its_url():
    one = make_page("https://a.example/<1>")
    assert one == make_page("https://a.example/<1>")
    assert one.body != make_page("https://a.example/2").body
    assert b"<title>" in one.body
    assert b"https://a.example/&lt;1&gt;" in one.body


@pytest.mark.parametrize(
    ("query", "page_options"),
    [
        ("", DEFAULT_PAGE),
        ("?q=shoes", DEFAULT_PAGE),
        ("?sandbox=error", PageOptions(error=True)),
        ("?status=404&size=200000", PageOptions(status=404, size=200_000)),
        ("?binary=1&seconds=3.5", PageOptions(binary=True, seconds=3.5)),
        ("?gone=410", PageOptions(gone=410)),
        ("?cost=30", PageOptions(cost=30)),
        ("?cost=-1", PageOptions()),
        ("?gone=404", PageOptions(gone=404)),
        ("?status=open&size=XL&seconds=-1&gone=yes", DEFAULT_PAGE),
    ],
)
def test_page_options_in_the_query_string(query, page_options):
    assert parse_page_options(f"https://a.example/{query}") == page_options


def test_a_size_is_met_exactly_unless_the_page_is_larger():
    url = "https://a.example/?size=200000"
    assert len(make_page(url, parse_page_options(url)).body) == 200_000
    assert len(make_page("https://a.example/?size=1", PageOptions(size=1)).body) > 1


def test_binary_content_is_random_but_fixed():
    page = make_page("https://a.example/?binary=1", PageOptions(binary=True, size=100))
    assert (len(page.body), page.text) == (100, False)
    assert page == make_page("https://a.example/?binary=1", PageOptions(binary=True, size=100))


def test_a_plugin_entry_gives_json():
    page = make_page("https://plugin.sandbox.test/amazon/pdp?asin=A1")
    assert json.loads(page.body) == {"plugin": "amazon/pdp", "params": {"asin": "A1"}, "sandbox": True}


@pytest.mark.parametrize("key", ["walmart/store", "lowes/store", "shein"])
def test_plugins_that_answer_with_html(key):
    page = make_page(f"https://plugin.sandbox.test/{key}?url=https%3A%2F%2Fa.example%2F")
    assert page.headers["Content-Type"].startswith("text/html")
    assert b"<title>" in page.body


def test_the_search_plugin_answers_results():
    answer = json.loads(make_page("https://plugin.sandbox.test/google/search?q=red+shoes").body)
    assert answer["params"] == {"q": "red shoes"}
    assert [one["position"] for one in answer["organic_results"]] == [1, 2, 3]
    assert answer["ai_overview"]["state"] == "complete"
