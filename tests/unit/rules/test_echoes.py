"""Test which answers of a plugin prove to which parameter set they belong."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.rules.echoes import match_answers, read_echo


def echo_of(**params):
    return read_echo(json.dumps({"organic_results": [], "search_parameters": params}).encode())


@pytest.mark.parametrize(
    "page",
    [
        None,
        b"",
        b"<html>",
        b"[]",
        b'"q"',
        b"{}",
        b'{"search_parameters": null}',
        b'{"search_parameters": ["q"]}',
        b'{"params": {"q": "a"}}',
        "\ud800".encode("utf-8", "surrogatepass"),
    ],
)
def test_a_page_without_parameters_repeats_none(page):
    assert read_echo(page) is None


def test_an_echo_has_one_form_for_the_spellings_of_a_value():
    assert echo_of(q=" Coffee  Mill ", start=10, include_html=True, deep={"b": 1, "a": [2]}) == {
        "q": "coffee mill",
        "start": "10",
        "include_html": "true",
        "deep": '{"a": [2], "b": 1}',
    }
    assert echo_of(start="10") == echo_of(start=10)


A, B, C = {"q": "a"}, {"q": "b"}, {"q": "a", "start": 10}


@pytest.mark.parametrize(
    ("sets", "echoes", "answered"),
    [
        ([A, B], [echo_of(q="b")], {1}),
        ([A, B], [echo_of(q="b", gl="us", engine="google")], {1}),
        ([A, B], [], set()),
        ([A, B], [echo_of(q="b"), echo_of(q="a")], {0, 1}),
        # Equal sets are one question: it does not count which of them got the answer.
        ([A, B, A], [echo_of(q="a")], {0}),
        ([A, B, A], [echo_of(q="a"), echo_of(q="A")], {0, 2}),
        ([{"q": "a", "start": 0}, C], [echo_of(q="a", start="10")], {1}),
    ],
)
def test_an_answer_belongs_to_the_only_set_it_may_belong_to(sets, echoes, answered):
    matched = match_answers(sets, echoes)
    assert len(matched) == len(echoes)
    assert set(matched) == answered


@pytest.mark.parametrize(
    ("sets", "echoes"),
    [
        ([A, B], [None]),
        ([A, B], [echo_of()]),
        ([A, B], [echo_of(gl="us")]),
        ([A, B], [echo_of(q="c")]),
        ([A, B], [echo_of(q="b"), None]),
        # A set asked once, and two answers repeat it: one of them belongs to another set.
        ([A, B], [echo_of(q="a"), echo_of(q="a")]),
        # The answer may be that of the set without `start`, whose default nobody knows.
        ([A, C], [echo_of(q="a")]),
        ([A, C], [echo_of(q="a", start=10)]),
        # The server may have changed the spelling.
        ([A, {"q": "A "}], [echo_of(q="a")]),
        ([{"q": "a", "gl": "us"}, {"q": "b", "gl": "de"}], [echo_of(q="a", gl="de")]),
        # The answer may be that of the first set: a server may repeat its defaults.
        ([{"token": "t"}, {"id": "42", "device": "desktop"}], [echo_of(device="desktop", hl="en")]),
    ],
)
def test_an_answer_of_unknown_set_proves_nothing(sets, echoes):
    assert match_answers(sets, echoes) is None


values = st.dictionaries(st.sampled_from(["q", "gl", "start"]), st.sampled_from(["a", "A", "b", 1, "1"]), max_size=3)


@given(st.lists(values, min_size=1, max_size=5), st.data())
def test_a_proof_is_never_wrong(sets, data):
    """Answer some sets in any order: a proof names equal sets.

    An answer repeats all or some of the parameters of its set, and all or some defaults of the server.
    """
    chosen = data.draw(st.lists(st.sampled_from(range(len(sets))), unique=True))
    defaults = data.draw(values)
    known = [{**defaults, **sets[index]} for index in chosen]
    shown = [echo_of(**{name: value for name, value in one.items() if data.draw(st.booleans())}) for one in known]
    order = data.draw(st.permutations(range(len(chosen))))
    matched = match_answers(sets, [shown[at] for at in order])
    if matched is not None:
        assert len(set(matched)) == len(matched)
        assert [sets[one] for one in matched] == [sets[chosen[at]] for at in order]


def test_a_whole_part_is_proven():
    sets = [{"q": f"word {number}", "gl": "us"} for number in range(1000)]
    echoes = [echo_of(**one) for one in sets[::2]]
    assert match_answers(sets, reversed(echoes)) == list(reversed(range(0, 1000, 2)))
    assert all(match_answers(list(pair), [echo_of(**pair[0])]) == [0] for pair in combinations(sets[:5], 2))
