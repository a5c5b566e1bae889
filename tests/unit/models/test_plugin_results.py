"""Test the typed results of plugins."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery import GoogleSearchResults, UnreadableContentError
from scrape_do_celery.models import AIOverview, SearchLink, TaskDetails
from scrape_do_celery.models.plugin_results import HTML_PLUGINS, TYPED_PLUGINS, describe_answer

ANSWER = {
    "search_parameters": {"q": "shoes"},
    "organic_results": [
        {
            "position": 1,
            "title": "Shoes",
            "link": "https://a/",
            "snippet": "Many shoes",
            "sitelinks": {"expanded": [{"title": "Sale", "link": "https://a/sale"}], "inline": []},
        },
        {"position": 2, "title": "Boots", "link": "https://b/", "sitelinks": None},
    ],
    "top_ads": [{"position": 1, "title": "Buy", "url": "https://ad/"}],
    "bottom_ads": None,
    "top_stories": [{"title": "News", "link": "https://n/"}],
    "related_questions": [{"question": "Which shoes?"}],
    "related_searches": [{"query": "red shoes"}],
    "ai_overview": {
        "state": "complete",
        "text_blocks": [{"type": "paragraph", "snippet": "Shoes are"}],
        "references": [{"title": "A", "link": "https://r/", "source": "r"}],
    },
}


def read(answer):
    content = answer if isinstance(answer, str | None) else json.dumps(answer)
    task = TaskDetails.model_validate({"TaskID": "t1", "JobID": "j1", "Status": "success", "Content": content})
    return GoogleSearchResults.from_task(task)


def test_results_of_google_search():
    results = read(ANSWER)
    first, second = results.organic_results
    assert (first.position, first.title, first.link) == (1, "Shoes", "https://a/")
    assert first.sitelinks.expanded[0].link == "https://a/sale"
    assert second.sitelinks is None
    assert [ad.target for ad in results.top_ads] == ["https://ad/"]
    assert [story.target for story in results.top_stories] == ["https://n/"]
    assert results.bottom_ads == []
    assert results.related_questions[0].question == "Which shoes?"
    assert results.related_searches[0].query == "red shoes"
    assert results.dropped == 0
    assert pickle.loads(pickle.dumps(results)) == results


def test_unknown_keys_are_kept():
    results = read({**ANSWER, "newer": 1})
    assert results.model_extra == {"newer": 1}
    assert results.organic_results[0].model_extra == {"snippet": "Many shoes"}
    assert results.organic_results[0].sitelinks.model_extra == {"inline": []}


@pytest.mark.parametrize(
    ("echo", "read_as"), [({"q": "shoes", "num": 10}, {"q": "shoes", "num": 10}), (None, None), ("q=shoes", None)]
)
def test_the_parameters_that_an_answer_repeats(echo, read_as):
    assert read({"organic_results": [], "search_parameters": echo}).search_parameters == read_as


def test_the_states_of_the_ai_overview():
    complete = read(ANSWER)
    assert complete.ai_overview_state == "complete"
    assert complete.ai_overview.references[0].source == "r"
    deferred = read({"organic_results": [], "ai_overview": {"state": "deferred", "session_key": "key-1"}})
    assert deferred.ai_overview_state == "deferred"
    assert deferred.ai_overview.session_key == "key-1"
    assert "key-1" not in repr(deferred)
    for absent in ({}, {"ai_overview": None}, {"ai_overview": {}}, {"ai_overview": "none"}):
        assert read({"organic_results": [], **absent}).ai_overview_state == "absent"


def test_the_answer_of_the_ai_overview_alone():
    assert read({"ai_overview": ANSWER["ai_overview"]}).ai_overview == AIOverview.model_validate(ANSWER["ai_overview"])


def test_items_that_cannot_be_read_are_counted():
    results = read({"organic_results": [1, None, {"position": "3", "title": None}], "top_ads": "x"})
    assert results.organic_results == [SearchLink(position=3)]
    assert results.dropped == 3
    assert read({"organic_results": [{"title": "a\ud800", "position": -1}]}).organic_results[0].title == "a�"


@pytest.mark.parametrize(
    "answer",
    [
        "<html>",
        "[]",
        "{}",
        "null",
        None,
        {"error": "no results"},
        {"search_parameters": {"q": "x"}},
        '{"organic_results": [',
    ],
)
def test_another_answer_names_the_task(answer):
    with pytest.raises(UnreadableContentError) as caught:
        read(answer)
    assert (caught.value.task_id, caught.value.job_id) == ("t1", "j1")
    assert caught.value.__context__ is None


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["title", "position", "sitelinks", "state", "expanded"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*ANSWER]), jsons, max_size=6))
def test_any_object_with_a_known_key_is_read(answer):
    results = read({**answer, "related_searches": []})
    assert isinstance(results, GoogleSearchResults)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("google/search", "`GoogleSearchResults.from_task(task)`"),
        ("walmart/store", "HTML: `task.text`"),
        ("amazon/pdp", "untyped JSON: `task.json_content()`"),
        ("newer/plugin", "untyped JSON: `task.json_content()`"),
    ],
)
def test_the_other_plugins_are_untyped(key, text):
    assert describe_answer(key) == text


def test_the_page_about_results_names_the_same_plugins():
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "results.md").read_text()
    rows = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in page.splitlines() if "|" in line}
    for keys, answer in rows.items():
        if re.fullmatch(r"`[a-z/-]+/[a-z/-]+`(, `[a-z/-]+`)*", keys):
            assert {describe_answer(key.strip(" `")) for key in keys.split(",")} == {answer}
    named = {key.strip(" `") for keys in rows for key in keys.split(",")}
    assert named >= HTML_PLUGINS | TYPED_PLUGINS.keys()
    assert rows["any other"] == describe_answer("other/plugin")


def test_text_blocks_that_are_no_objects_are_left_out():
    overview = read({"ai_overview": {"state": "complete", "text_blocks": ["x", {"type": "list"}]}}).ai_overview
    assert (overview.text_blocks, overview.dropped) == ([{"type": "list"}], 1)
