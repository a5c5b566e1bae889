"""Test that texts about refused input show no more of a key or value than helps: one short line without credentials."""

from __future__ import annotations

import contextlib
import re
import warnings
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from scrape_do_celery import scheduled_run
from scrape_do_celery.client.job_filters import write_filters
from scrape_do_celery.config.secrets import with_credentials
from scrape_do_celery.models import (
    Click,
    GoogleSearch,
    JobCreationRequest,
    Plugin,
    Render,
    RequestWarning,
    SearchParams,
    Target,
)
from scrape_do_celery.models.plugins.plugin import PLUGINS
from scrape_do_celery.outside_text import show_key
from scrape_do_celery.runs.many import read_specs
from scrape_do_celery.store import RunSpec
from tests.unit.models.test_foreign_requests import foreign

URL = "https://a.example/"
HOUR = timedelta(hours=1)
SECRET = "s3cr3t"
HOSTILE = f"https://u:{SECRET}@h.example/?token={SECRET}\n\x1b[31m\u202e" + "k" * 1_000_000
#: Letters of a text about one fault at most. The longest texts list all fields of a request.
LONGEST = 1_500

#: Entry points that take names or values of a caller.
CALLS = {
    "a field of a request": lambda text: JobCreationRequest(**{text: 1}),
    "a field of a request's dict": lambda text: JobCreationRequest.model_validate({text: 1}),
    "a field that is no text": lambda text: JobCreationRequest.model_validate({("a", text): 1}),
    "many fields": lambda text: JobCreationRequest.model_validate({f"{n}{text[:99]}": 1 for n in range(10_000)}),
    "a field of render": lambda text: JobCreationRequest(targets=[URL], render={text: 1}),
    "a key of extra": lambda text: Render(extra={text: None}),
    "a known key of extra": lambda text: Click("#a", extra={"SELECTOR": text}),
    "a value in extra": lambda text: Render(extra={text: {text}}),
    "an inner key of extra": lambda text: Render(extra={"A": {text: {1}}}),
    "a field of an action": lambda text: Render(actions=[{"Action": "Click", "Selector": "#a", text: 1}]),
    "an action": lambda text: Render(actions=[{"Action": text}]),
    "an argument of an action": lambda text: Click("#a", **{text: 1}),
    "an argument of a plugin": lambda text: GoogleSearch([{"q": "a"}], **{text: 1}),
    "an argument of a target": lambda text: Target(URL, **{text: 1}),
    "a header": lambda text: JobCreationRequest(targets=[URL], headers={text: "a"}),
    "the value of a header": lambda text: JobCreationRequest(targets=[URL], headers={"A" * 9_999: text}),
    "a URL": lambda text: JobCreationRequest(targets=[text]),
    "a field of a target": lambda text: RunSpec.from_arguments([{"url": URL, text: 1}]),
    "a key of meta": lambda text: RunSpec.from_arguments([Target(URL, {text: {1}})]),
    "a parameter": lambda text: GoogleSearch([{"q": "a", text: 1}]),
    "a parameter that is no text": lambda text: GoogleSearch([{("a", text): 1}]),
    "an argument of a parameter set": lambda text: SearchParams(q="a", **{text: 1}),
    "a key in a parameter's extra": lambda text: GoogleSearch([{"q": "a", "extra": {text: {1}}}]),
    "a field of a plugin": lambda text: JobCreationRequest(plugin={"key": "shein", "params": [{"url": URL}], text: 1}),
    "a key of a newer plugin": lambda text: Plugin("new/key", [{text: {1}}]),
    "a field of another library's object": lambda text: JobCreationRequest.model_validate(foreign(**{text: 1})),
    "a key of another library's secret": lambda text: GoogleSearch([foreign(q={text: SecretStr(text)})]),
    "an option": lambda text: RunSpec.from_arguments([URL], **{text: 1}),
    "an option of many runs": lambda text: read_specs([[URL]], (), {text: 1}),
    "an option of a schedule": lambda text: scheduled_run("n", HOUR, [URL], **{text: 1}),
    "a word of a schedule": lambda text: scheduled_run("n", HOUR, [URL], if_running=text),
    "the name of credentials": lambda text: with_credentials(None, text[:900], {}),
    "a filter": lambda text: write_filters({text: 1}),
    "a word of a filter": lambda text: write_filters({"status": text}),
    **{
        f"the {name} of a request": lambda text, name=name: JobCreationRequest(**{"targets": [URL], name: text})
        for name in JobCreationRequest.model_fields
        if name not in {"body", "set_cookies"}
    },
    **{
        f"the {name} of {key}": lambda text, plugin=plugin, name=name: plugin([{**plugin.EXAMPLE, name: [text]}])
        for key, plugin in PLUGINS.items()
        for name in plugin.PARAMS.model_fields
    },
}


@pytest.mark.parametrize("name", CALLS)
def test_a_refusal_shows_little_of_hostile_input(name):
    with pytest.raises((ValueError, TypeError)) as caught:
        CALLS[name](HOSTILE)
    text = str(caught.value)
    assert SECRET not in text
    assert len(text) <= LONGEST
    # Pydantic's own texts have several lines.
    assert text.replace("\n", " ").isprintable()
    assert "\n\x1b" not in text


@pytest.mark.parametrize("key", PLUGINS)
def test_a_warning_shows_no_value(key):
    plugin = PLUGINS[key]
    for name in plugin.PARAMS.model_fields.keys() - {"extra"}:
        with warnings.catch_warnings(record=True) as caught, contextlib.suppress(ValueError):
            warnings.simplefilter("always")
            plugin([{**plugin.EXAMPLE, name: HOSTILE}])
        assert SECRET not in " ".join(str(one.message) for one in caught)


def test_a_warning_of_an_unknown_plugin_shows_little_of_its_key():
    with pytest.warns(RequestWarning) as caught:
        Plugin(HOSTILE, [{}])
    text = str(caught[0].message)
    assert SECRET not in text
    assert len(text) <= LONGEST
    assert text.isprintable()


@given(st.text(), st.sampled_from([re, 5, None, (1,)]))
def test_a_key_is_shown_in_one_short_line(text, other):
    assert re.fullmatch(r"[ -~]{2,63}", show_key(text))
    assert re.fullmatch(r"\w+", show_key(other))


def test_a_plain_key_is_shown_as_it_is():
    assert show_key("geo_cod") == "'geo_cod'"
    assert show_key("länge") == r"'l\xe4nge'"
    assert show_key(f"https://u:{SECRET}@h.example/") == "'https://***@h.example/'"
