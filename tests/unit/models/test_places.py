"""Test that a value in a wrong place is refused with its right form: an item for a list, an object for a field."""

from __future__ import annotations

import pytest
from scrape_do.async_api import models as peer
from scrape_do.models.browser_actions import ClickAction

from scrape_do_celery import Click, GoogleSearch, JobCreationRequest, Plugin, Render, SearchParams, Target
from scrape_do_celery.runs.many import one_for_each, read_specs
from scrape_do_celery.store import RunSpec

URL = "https://a.example/"
SET = SearchParams(q="a")
PLUGIN = GoogleSearch([SET])
PEER = peer.GoogleSearchAsyncPlugin.model_validate({"key": "google/search", "params": [{"q": "a"}]})
#: Each field that is a list, by a function that sets it.
LISTS = {
    "targets": lambda one: JobCreationRequest(targets=one),
    "targets of with_targets": lambda one: JobCreationRequest(targets=[URL]).with_targets(one),
    "targets of a run": lambda one: RunSpec.from_fields({"targets": one}, {}),
    "play_with_browser": lambda one: Render(actions=one),
    "play_with_browser of a dict": lambda one: JobCreationRequest(targets=[URL], render={"play_with_browser": one}),
    "params": GoogleSearch,
    "params of a generic plugin": lambda one: Plugin("google/search", one),
    "params of a dict": lambda one: JobCreationRequest(plugin={"key": "google/search", "params": one}),
    "idempotency_keys": lambda one: one_for_each([], one, "idempotency_keys", "keys"),
}


@pytest.mark.parametrize("field", LISTS)
@pytest.mark.parametrize(
    ("one", "form"),
    [
        (URL, "one string; write ['...']"),
        (b"a", "one string; write ['...']"),
        ({"url": URL}, "one dict; write [{...}]"),
        (7, "one int; write [...]"),
        (Target(URL), "one Target; write [Target(...)]"),
        (Click("#a"), "one Click; write [Click(...)]"),
        (SET, "one SearchParams; write [SearchParams(...)]"),
        (ClickAction(Selector="#a"), "one ClickAction; write [ClickAction(...)]"),
        ({URL}, "set, because their order counts"),
    ],
    ids=str,
)
def test_one_item_is_no_list(field, one, form):
    with pytest.raises(ValueError, match="must be a list of") as error:
        LISTS[field](one)
    assert f"{field.partition(' ')[0]} must be a list of" in str(error.value)
    assert f"not {form}" in str(error.value)


@pytest.mark.parametrize(
    ("misplaced", "form"),
    [
        (PLUGIN, "not GoogleSearch; write plugin=GoogleSearch(...)"),
        (Plugin("google/search", [{"q": "a"}]), "not Plugin; write plugin=Plugin(...)"),
        (PEER, "no field 'Key'; this is a field of a plugin: write plugin=..."),
        (SET, "not SearchParams; put it into the list of its plugin, as in plugin=GoogleSearch([SearchParams(...)])"),
        (Render(), "not RenderOptions; write render=Render(...)"),
        (Click("#a"), "not Click; write render=Render(actions=[Click(...)])"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_object_in_place_of_a_request_is_refused_with_its_place(misplaced, form):
    for call in (
        lambda: RunSpec.from_arguments(misplaced),
        lambda: RunSpec.from_arguments(misplaced, geo_code="us"),
        lambda: read_specs([[URL], misplaced], (), {}),
        lambda: JobCreationRequest.model_validate(misplaced),
    ):
        with pytest.raises(ValueError, match="JobCreationRequest") as error:
            call()
        assert form in str(error.value)


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"targets": [URL, PLUGIN]}, "targets[1] must be text (str), not GoogleSearch; write plugin=GoogleSearch(...)"),
        ({"targets": [SET]}, "not SearchParams; put it into the list of its plugin"),
        ({"plugin": SET}, "must be Plugin or a dict of its fields, not SearchParams; put it into the list"),
        ({"plugin": Render()}, "must be Plugin or a dict of its fields, not RenderOptions; write render=Render(...)"),
        ({"targets": [URL], "render": Click("#a")}, "not Click; write render=Render(actions=[Click(...)])"),
        ({"targets": [URL], "render": PLUGIN}, "not GoogleSearch; write plugin=GoogleSearch(...)"),
        ({"targets": [URL], "custom_wait": 5}, "put this field into render: render=Render(custom_wait=...)"),
        ({"targets": [URL], "actions": []}, "put this field into render: render=Render(actions=...)"),
        ({"key": "google/search", "params": []}, "no field 'params'; this is a field of a plugin: write plugin=..."),
    ],
)
def test_an_object_in_another_field_is_refused_with_its_place(fields, form):
    with pytest.raises(ValueError, match="JobCreationRequest") as error:
        JobCreationRequest(**fields)
    assert form in str(error.value)


def test_a_request_takes_targets_without_meta():
    one = JobCreationRequest(targets=[URL, Target(URL), {"url": URL}])
    assert one.to_wire() == {"Targets": [URL] * 3}
    assert one.with_targets([Target(URL)]).targets == [URL]
    for target in (Target(URL, meta=0), {"url": URL, "meta": {"a": "s3cret"}}):
        with pytest.raises(ValueError, match=r"targets\[1\] has meta, which no request carries; .* enqueue") as error:
            JobCreationRequest(targets=[Target(URL), target])
        assert "s3cret" not in str(error.value)
    with pytest.raises(ValueError, match=r"targets\[0\] must be an absolute|targets\[0\]"):
        JobCreationRequest(targets=[Target("nonsense")])


def test_targets_that_are_given_twice_are_refused():
    with pytest.raises(ValueError, match=r"^Targets: the first argument of the call has the targets already"):
        RunSpec.from_arguments([URL], Targets=[URL])
    assert RunSpec.from_arguments(Targets=[URL]).request.targets == [URL]
