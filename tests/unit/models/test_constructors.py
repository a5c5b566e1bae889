"""Test that constructors show what they take, and refuse wrong arguments as they refuse wrong values."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from scrape_do_celery.models import (
    ChatParams,
    Click,
    Fill,
    GoogleSearch,
    JobCreationRequest,
    Plugin,
    PluginParams,
    Render,
    ScreenShot,
    SearchParams,
    Target,
    Wait,
    WaitSelector,
    WalmartParams,
)
from scrape_do_celery.models.browser_actions import ACTION_CLASSES
from scrape_do_celery.models.constructors import find_signature, show_form
from scrape_do_celery.models.plugins.plugin import PLUGINS
from scrape_do_celery.models.request_fields import AllFields
from scrape_do_celery.models.request_models import RequestModel

if TYPE_CHECKING:
    from decimal import Decimal

SETS = sorted({plugin.PARAMS for plugin in PLUGINS.values()}, key=lambda one: one.__name__)
CLASSES = [JobCreationRequest, Render, Plugin, Target, *ACTION_CLASSES.values(), *PLUGINS.values(), *SETS]
FORMS = [
    (Click, "Click(selector: str, *, extra=None)"),
    (Fill, "Fill(selector: str, value: str, *, extra=None)"),
    (Wait, "Wait(timeout: int, *, extra=None)"),
    (ScreenShot, "ScreenShot(*, full=None, particular=None, extra=None)"),
    (Target, "Target(url: str, meta=None)"),
    (Plugin, "Plugin(key: str, params: Iterable[PluginParams | Mapping[str, Any] | ForeignModel])"),
    (GoogleSearch, "GoogleSearch(params: Iterable[SearchParams | Mapping[str, Any] | ForeignModel])"),
    (ChatParams, "ChatParams(*, q: str, model=None, geo_code=None, raw_sse=None, extra=None)"),
]
REFUSED = [
    (Click, "selector is missing"),
    (lambda: Click("#a", "b", "c"), "3 arguments without a name, and Click takes only selector"),
    (lambda: Click("#a", selector="#b"), "selector is given twice"),
    (lambda: Click(select="#a"), "selector is missing; no field 'select'; did you mean selector?"),
    (lambda: Click(Selector="#a"), "selector is missing; no field 'Selector'; did you mean selector?"),
    (lambda: Fill("#a"), "value is missing"),
    (lambda: WaitSelector("#a", 5), "2 arguments without a name, and WaitSelector takes only wait_selector"),
    (lambda: ScreenShot(True), "1 argument without a name, and ScreenShot takes none: name each field"),
    (GoogleSearch, "params is missing"),
    (lambda: GoogleSearch([{"q": "a"}], 5), "2 arguments without a name, and GoogleSearch takes only params"),
    (Plugin, "key is missing; params is missing"),
    (lambda: Render({"screenshot": True}), "1 argument without a name, and RenderOptions takes none: name each field"),
    (lambda: JobCreationRequest(["https://a.example/"]), "JobCreationRequest takes none: name each field"),
    (lambda: SearchParams("coffee"), "SearchParams takes none: name each field; q is missing"),
    (Target, "url is missing"),
    (lambda: Target("https://a.example/", metaa=1), "no field 'metaa'; did you mean meta?"),
]


@pytest.mark.parametrize("cls", CLASSES)
def test_a_signature_has_what_the_constructor_takes(cls):
    named = {name: one for name, one in inspect.signature(cls).parameters.items() if one.kind is not one.VAR_KEYWORD}
    if cls is JobCreationRequest:
        assert named.keys() == AllFields.__annotations__.keys() == cls.model_fields.keys()
    elif cls in SETS:
        assert named.keys() == cls.model_fields.keys()
        required = {name for name, one in named.items() if one.default is one.empty}
        assert required == {name for name, field in cls.model_fields.items() if field.is_required()}
    elif cls is Render:
        assert named.keys() - cls.model_fields.keys() == {"actions"}
    else:
        real = inspect.signature(cls.__init__).parameters
        assert list(named) == list(real)[1:]
        assert [one.default for one in named.values()] == [one.default for one in real.values()][1:]
    for name in ("Validator", "SendableText", "ParamText", "PydanticUndefined"):
        assert name not in str(inspect.signature(cls))


@pytest.mark.parametrize("plugin", PLUGINS.values(), ids=PLUGINS)
def test_a_call_by_the_signature_is_taken(plugin):
    inspect.signature(plugin.PARAMS).bind(**plugin.EXAMPLE)
    inspect.signature(plugin).bind([plugin.EXAMPLE])
    assert plugin.PARAMS.__name__ in str(inspect.signature(plugin))


def read_help(cls):
    """Return the text of `help(cls)` without spaces: from Python 3.13 on, it has a line for each argument."""
    return re.sub(r"^ \| |\s", "", pydoc.plain(pydoc.render_doc(cls)), flags=re.MULTILINE)


def test_help_shows_the_signature():
    assert "classClick(" in read_help(Click)
    assert "Click(selector:str,*,extra:" in read_help(Click)
    assert "store_id:int|None=None" in read_help(WalmartParams)
    # Pydantic writes a signature of its own each time that it builds a class.
    WalmartParams.model_rebuild(force=True)
    assert "store_id: int | None = None" in str(inspect.signature(WalmartParams))


@pytest.mark.parametrize(("cls", "form"), FORMS)
def test_a_form_is_short(cls, form):
    assert show_form(cls) == form


@pytest.mark.parametrize(("call", "text"), REFUSED)
def test_wrong_arguments_are_refused_as_wrong_values_are(call, text):
    with pytest.raises(ValidationError) as caught:
        call()
    shown = str(caught.value)
    assert text in shown
    assert f"; the form is {caught.value.title}(" in shown
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("cls", CLASSES)
def test_too_many_arguments_name_the_class_and_its_fields(cls):
    with pytest.raises(ValidationError) as caught:
        cls(*range(9))
    assert caught.value.title == cls.__name__
    for name in find_signature(cls).parameters:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Click(""), "selector must not be empty"),
        (lambda: ScreenShot(particular=""), "particular must not be empty"),
        (lambda: Plugin("", [{}]), "key must not be empty"),
        (lambda: GoogleSearch([]), "params must hold at least one parameter set"),
    ],
)
def test_empty_values_are_refused_by_their_name(call, text):
    with pytest.raises(ValidationError, match=text):
        call()


def test_a_fault_inside_of_a_constructor_stays_what_it_is():
    class Odd(PluginParams):
        def __init__(self, **fields: Any) -> None:
            raise TypeError("a fault of this class")

    with pytest.raises(TypeError, match="a fault of this class"):
        Odd()


def test_the_class_of_a_user_may_name_types_that_only_type_checkers_import():
    class Priced(RequestModel):
        price: int

        def __init__(self, price: Decimal) -> None:
            super().__init__(price=int(price))

    assert str(inspect.signature(Priced)) == "(price: 'Decimal')"
    with pytest.raises(ValidationError, match=r"price is missing; the form is Priced\(price: Decimal\)"):
        Priced()


def test_instances_survive_copies():
    for one in (Click("#a"), SearchParams(q="a"), Target("https://a.example/", {"a": 1})):
        assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == copy.copy(one) == one
