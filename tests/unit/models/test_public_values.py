"""Test the rule for the values of a request that a repr shows, over all classes of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scrape_do_celery.models import (
    ChatParams,
    Click,
    Fill,
    GoogleSearch,
    JobCreationRequest,
    Plugin,
    Render,
    SearchParams,
    Target,
    Wait,
    WalmartParams,
)
from scrape_do_celery.models.browser_actions import KeptAction
from scrape_do_celery.models.plugins.plugin import TypedPlugin
from scrape_do_celery.models.request_models import RequestModel
from scrape_do_celery.redaction import request_fields, request_summary

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "s3cr3t"
URL_OF_SHEIN = "https://us.shein.com/item.html"
URL = f"https://u:{SECRET}@shop.example/{SECRET}?q={SECRET}"


def classes_of(base: type) -> Iterator[type[RequestModel]]:
    for one in base.__subclasses__():
        if one.__module__.startswith("scrape_do_celery."):
            yield one
        yield from classes_of(one)


CLASSES = sorted(
    {*classes_of(RequestModel)} - {TypedPlugin, *TypedPlugin.__subclasses__()}, key=lambda one: one.__name__
)


def shown_fields(cls: type[RequestModel], value: str, sought: str) -> set[str]:
    """Return the fields whose value is seen in the repr of an object that has this field alone."""
    # These fields hold no text, and the name of an action is that of its class.
    names = cls.model_fields.keys() - {"extra", "plugin", "params", "targets", "action"}
    rest = {"params": []} if issubclass(cls, Plugin) else {}
    found = {name: cls.model_construct(**rest, **{name: value}) for name in names}
    return {name for name, one in found.items() if sought in repr(one) + str(one)}


@pytest.mark.parametrize("cls", CLASSES)
def test_a_repr_shows_the_texts_that_the_class_names_and_no_other(cls):
    assert shown_fields(cls, SECRET, SECRET) == cls.SHOWN & cls.model_fields.keys()
    # Of a URL the host is shown.
    assert shown_fields(cls, URL, "shop.example") == shown_fields(cls, URL, "***")


@pytest.mark.parametrize("cls", CLASSES)
def test_a_repr_says_which_fields_are_set(cls):
    names = {name for name, field in cls.model_fields.items() if field.repr} - {"plugin"}
    rest = {"params": []} if issubclass(cls, Plugin) else {}
    for name in names:
        assert f"{name}=" in repr(cls.model_construct(**rest, **{name: SECRET}))


def test_numbers_switches_and_listed_words_are_shown():
    one = SearchParams(q="coffee", device="mobile", start=20, include_html=True, hl="en", extra={"udm": SECRET})
    assert repr(one) == "SearchParams(hl='en', q=***, device='mobile', include_html=True, start=20, extra=['udm'])"
    assert (
        repr(WalmartParams(url="https://u:pw@www.walmart.com/ip/1"))
        == "WalmartParams(url='https://www.walmart.com/***')"
    )
    assert repr(ChatParams(q="my illness", geo_code="de")) == "ChatParams(q=***, geo_code='de')"
    assert repr(Plugin("shein", [{"url": URL_OF_SHEIN}] * 3)) == "Plugin(key='shein', size=3)"


def test_a_request_shows_its_parts():
    render = Render(actions=[Fill("#pw", SECRET), Wait(5)], wait_selector="#a")
    one = JobCreationRequest(targets=["https://a.example/"], render=render, headers={"A": SECRET}, webhook_url=URL)
    assert repr(one) == (
        "JobCreationRequest(size=1, headers=***, render=RenderOptions(wait_selector='#a', "
        "play_with_browser=[Fill(selector='#pw', value=***), Wait(timeout=5)]), webhook_url='https://shop.example/***')"
    )
    assert repr(JobCreationRequest(plugin=GoogleSearch([{"q": SECRET}]))) == (
        "JobCreationRequest(size=1, plugin=Plugin(key='google/search', size=1))"
    )
    assert repr(Target(URL, SECRET)) == "Target('https://shop.example/***', meta=***)"


def test_a_repr_shows_what_the_summary_of_a_message_shows():
    options = {"method": "POST", "geo_code": "us", "super": True, "device": "mobile", "output": "raw", "session_id": 5}
    one = JobCreationRequest(targets=["https://a.example/"], body=SECRET, **options)
    summary = request_summary(request_fields(one))
    assert options.items() <= summary.items()
    for name, value in options.items():
        assert f"{name}={value!r}" in repr(one)


def test_texts_that_are_shown_are_cut_and_have_no_credentials():
    shown = repr(Click("a" * 1_000_000)) + repr(Click(f"[href='{URL}&token={SECRET}']"))
    assert len(shown + repr(Target("https://" + "a" * 1_000_000))) < 300
    assert repr(Target(f"{SECRET}://host")) == "Target(***)"
    assert f":{SECRET}@" not in shown
    assert f"token={SECRET}" not in shown
    keys = repr(Click("#a", extra={f"token={SECRET}\x1b" + "k" * 1000: 1})) + repr(KeptAction({f"token={SECRET}\n": 1}))
    assert SECRET not in keys
    assert keys.isprintable()
    assert len(keys) < 300
