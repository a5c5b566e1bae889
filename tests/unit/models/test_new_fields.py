"""Test `extra`: fields of the API that are newer than this package."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scrape_do_celery import (
    Click,
    Execute,
    Fill,
    JobCreationRequest,
    PluginRequest,
    Render,
    ScreenShot,
    SearchParams,
)
from scrape_do_celery.models.sendable import KEPT
from scrape_do_celery.redaction import call_summary, redact_texts
from scrape_do_celery.runs.schedules import scheduled_run
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.codec import unpack

URL = "https://a.example/"
names = st.text("XYZ", min_size=1, max_size=3)
jsons = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text(st.characters(codec="utf-8"), max_size=3),
    lambda inner: st.lists(inner | st.none(), max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
extras = st.dictionaries(names, jsons, max_size=3)


def request(extra: Any, **options: Any) -> JobCreationRequest:
    return JobCreationRequest.model_validate({"targets": [URL], "extra": extra, **options})


def test_new_fields_are_sent_beside_the_known_ones():
    one = JobCreationRequest(
        targets=[URL],
        render=Render(actions=[Click("#a", extra={"Button": 2})], extra={"Width": 1920}),
        extra={"PostalCode": "10115"},
    )
    action = {"Action": "Click", "Selector": "#a", "Button": 2}
    assert one.to_wire() == {
        "Targets": [URL],
        "Render": {"PlayWithBrowser": [action], "Width": 1920},
        "PostalCode": "10115",
    }
    assert json.loads(one.canonical()) == one.to_wire()
    assert one.to_fields()["extra"] == {"PostalCode": "10115"}
    assert one.split()[0] == one
    assert one.with_targets([URL]) == one


@given(extras, extras, extras)
def test_a_record_gives_the_same_request(own, of_render, of_action):
    one = JobCreationRequest(
        targets=[URL], render=Render(actions=[Click("#a", extra=of_action)], extra=of_render), extra=own
    )
    spec = RunSpec(one)
    assert RunSpec.unpacked(*spec.packed()) == spec
    assert JobCreationRequest.model_validate(one.to_fields()) == one
    assert {**one.to_wire(), **own} == one.to_wire()
    assert {**one.to_wire()["Render"], **of_render} == one.to_wire()["Render"]


@pytest.mark.parametrize("name", ["fullScreenShot", "particularScreenShot", "Action"])
def test_a_new_field_replaces_no_checked_one(name):
    with pytest.raises(ValidationError, match="extra is for fields that this package does not know"):
        ScreenShot(full=True, extra={name: False})
    with pytest.raises(ValidationError, match="extra is for fields that this package does not know"):
        request({"Target\u017f": []})


def test_no_new_fields_are_no_field():
    assert request({}) == request(None) == JobCreationRequest(targets=[URL])
    assert request({}).to_fields() == {"Targets": [URL]}


@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        ({"super": True}, "set super=... instead of 'super'"),
        ({"Super": True}, "set super=... instead of 'Super'"),
        ({"geocode": "us"}, "set geo_code=... instead of 'geocode'"),
        ({"Extra": {}}, "set extra=... instead of 'Extra'"),
        ({"New": None}, "extra['New'] is None, which is never sent"),
        ({"New": float("nan")}, "extra['New'] is a number that JSON cannot write"),
        ({"New": object()}, "extra['New'] is of type object"),
        ({5: 1}, "extra: the key int must be text"),
        ("New", "extra must be a dict of new fields of the API, not str"),
    ],
)
def test_wrong_extra_is_refused(extra, fault):
    with pytest.raises(ValidationError) as error:
        request(extra)
    assert fault in str(error.value)


def test_plugins_hold_new_parameters_themselves():
    with pytest.raises(ValidationError, match="no field 'extra'"):
        PluginRequest.model_validate({"key": "k", "params": [{}], "extra": {}})


def test_a_field_that_became_known_keeps_its_record_readable():
    kept = JobCreationRequest.model_validate({"Targets": [URL], "extra": {"Device": "tablet"}}, context=KEPT)
    assert kept.to_wire() == {"Targets": [URL], "Device": "tablet"}


def test_a_record_has_actions_as_they_are_sent():
    """An older version sends a dict of an action unread, and refuses a request with an `extra`."""
    one = JobCreationRequest(
        targets=[URL], render=Render(actions=[Click("#a", extra={"Button": 2})], extra={"Width": 5})
    )
    assert unpack(RunSpec(one).packed()[0])["request"]["Render"] == {
        "PlayWithBrowser": [{"Action": "Click", "Selector": "#a", "Button": 2}],
        "extra": {"Width": 5},
    }


def test_differing_fields_name_extra():
    assert request({"X": 1}).differing_fields(request({"X": 2})) == ("extra",)
    assert request({"X": 1}).differing_fields(request({"X": 1})) == ()


def test_logs_and_reprs_show_names_only():
    one = request({"Token": "s3cret-value"}, render={"extra": {"Width": "s3cret-value"}})
    shown = RunSpec(one).request_summary()
    assert shown["extra"] == "Token"
    assert "s3cret" not in repr(one) + str(one) + repr(shown)
    assert "extra=['Token']" in repr(one)
    assert call_summary(([URL],), {"extra": {"Zip": "s3cret", "Age": 5}})["extra"] == "Age, Zip"
    assert "extra" not in call_summary(([URL],), {"extra": "nonsense"})
    assert redact_texts(["the API read s3cret-value"], one) == ["the API read ***"]
    typed = request(None, render=Render(actions=[Fill("#pw", "s3cret-value")], extra={"Width": "s3cret-width"}))
    assert redact_texts(["typed s3cret-value and s3cret-width"], typed) == ["typed *** and ***"]


@pytest.mark.filterwarnings("ignore::scrape_do_celery.RequestWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"render": Render(actions=[Click("#more", extra={"Password": ["s3cret-value"]})])},
        {"render": Render(actions=[Execute("s3cret-value")])},
        {"plugin": PluginRequest("google/search", [SearchParams(q="coffee", extra={"auth": "s3cret-value"})])},
        {"plugin": {"key": "new/plugin", "params": [{"api_key": "s3cret-value"}]}},
    ],
    ids=["an action", "a script", "a parameter set", "an unknown plugin"],
)
def test_texts_of_the_api_repeat_no_new_field(options):
    one = JobCreationRequest(**({} if "plugin" in options else {"targets": [URL]}), **options)
    assert redact_texts(["no s3cret-value for #more and coffee"], one) == ["no *** for #more and coffee"]


def test_a_schedule_holds_new_fields():
    entry = scheduled_run("prices", 60, [URL], extra={"Zip": "1"}, render={"extra": {"Width": 5}})
    held = entry["kwargs"]["request"]
    assert JobCreationRequest.model_validate({key: held[key] for key in ("targets", "extra", "render")}).to_wire() == {
        "Targets": [URL],
        "Render": {"Width": 5},
        "Zip": "1",
    }
