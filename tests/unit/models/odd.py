"""Values that a caller may put into a request: good ones, near misses, and impossible ones."""

from __future__ import annotations

import math
from collections import UserDict, deque
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, get_args

from hypothesis import strategies as st

from scrape_do_celery.models import JobCreationRequest, RenderOptions


class Name(str):
    """A text of another class."""

    __slots__ = ()


class Word(StrEnum):
    """Texts that are constants."""

    GET = "GET"
    US = "us"


class Old(str, Enum):  # noqa: UP042 (the older way is under test)
    """A text whose `str()` differs from its value."""

    A = "a"


class Figure(IntEnum):
    """A number that is a constant."""

    MANY = 6000


texts = st.text(st.characters(), max_size=6) | st.text(st.characters(codec="utf-8"), max_size=6)
whole = st.sampled_from([-1, 0, 1, 4999, 5000, 55_000, 120_000, 1_000_001, 2**53 + 1, 2**64, 10**400, 10**4000])
numbers = (
    st.integers(5000, 35_000)
    | whole
    | st.integers()
    | st.floats()
    | whole.filter(lambda number: number < 10**9).map(str)
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    texts,
    st.binary(max_size=4),
    st.sampled_from(
        [Name("https://a.example/"), Name("GET"), Word.GET, Word.US, Old.A, Figure.MANY, Decimal(6000), 1j, object()]
    ),
    st.sampled_from(["yes", "us", "60", "60000", " 6000 ", "1e4", "6_000", "\x00", "\ud800", "ok\udfff", "a\nb", "é"]),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Make lists, objects similar to lists, and dicts with keys of any kind."""
    hashable = scalars.filter(lambda value: not isinstance(value, float) or not math.isnan(value))
    mappings = st.dictionaries(hashable, inner, max_size=3)
    lists = st.lists(inner, max_size=3)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(deque),
        lists.map(lambda items: (item for item in items)),
        st.lists(hashable, max_size=3).map(set),
        st.lists(hashable, max_size=3).map(frozenset),
        mappings,
        mappings.map(MappingProxyType),
        mappings.map(UserDict),
        mappings.map(lambda held: held.values()),
        mappings.map(lambda held: held.keys()),
    )


odd = st.recursive(scalars, containers, max_leaves=6)
good_urls = st.sampled_from(["https://a.example/", "http://[2001:db8::1]:8/?q=ü", Name("https://a.example/#")])
urls = good_urls | st.sampled_from(["a", "https://a.example/\ud800", "http://a/\n"])
maps = st.dictionaries(st.sampled_from(["A", "a", "X-B", "x b", ""]) | scalars, scalars | texts, max_size=3)
maps |= st.dictionaries(st.sampled_from(["A", "X-B", Name("C")]), texts, max_size=3)


def nested(depth: int) -> Any:
    """Return a value inside `depth` lists and dicts."""
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


# JSON values, with NaN and infinities.
jsons = st.recursive(
    st.none() | st.integers() | st.sampled_from([math.nan, -math.inf, -0.0, 1e308, True]) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
jsons |= st.sampled_from([60, 63, 64, 200, 254, 300]).map(nested)
keys = st.sampled_from(["q", "geocode", "ü", "\ud800"]) | texts
values = st.dictionaries(keys, jsons, max_size=3) | st.dictionaries(keys, odd, max_size=3)
selectors = st.sampled_from(["#a", ".b", ""]) | scalars
waits = st.sampled_from([0, 5, -1, "5", "soon"]) | scalars
#: Fields of each action in the API's form: the required ones, and the others.
action_fields: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Click": ({"Selector": selectors}, {}),
    "Wait": ({"Timeout": waits}, {}),
    "WaitSelector": ({"WaitSelector": selectors}, {"Timeout": waits}),
    "ScrollX": ({"Value": waits}, {}),
    "ScrollY": ({"Value": waits}, {}),
    "ScrollTo": ({"Selector": selectors}, {}),
    "Fill": ({"Selector": selectors, "Value": texts}, {}),
    "Execute": ({"Execute": texts}, {}),
    "ScreenShot": ({}, {"fullScreenShot": st.booleans() | scalars, "particularScreenShot": selectors}),
    "WaitForRequestCompletion": ({"UrlPattern": texts}, {"Timeout": waits}),
}
extras = st.dictionaries(st.sampled_from(["New", "Zip", "Super", "ü"]) | texts, jsons, max_size=2)
actions = st.sampled_from(sorted(action_fields)).flatmap(
    lambda name: st.fixed_dictionaries(
        {"Action": st.just(name), **action_fields[name][0]}, optional={**action_fields[name][1], "extra": extras}
    )
)
actions |= st.fixed_dictionaries({"Action": scalars}, optional={"Selector": scalars, "Value": odd})
typed_plugins = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["google/search", "google/hotels", "google/news"]),
        "params": st.lists(
            st.fixed_dictionaries(
                {"q": texts | scalars},
                optional={
                    "gl": texts | st.none(),
                    "start": numbers,
                    "device": st.sampled_from(["desktop", "tv"]) | odd,
                    "check_in_date": st.sampled_from(["2027-03-01", "20270301"]),
                    "check_out_date": st.sampled_from(["2027-03-02", "2027-03-01"]),
                },
            ),
            min_size=1,
            max_size=2,
        ),
    }
)
fitting: dict[str, st.SearchStrategy[Any]] = {
    "targets": st.lists(urls, max_size=3) | st.lists(good_urls, max_size=3).map(tuple),
    "plugin": typed_plugins
    | st.fixed_dictionaries({"key": st.just("k") | texts, "params": st.lists(values, min_size=1, max_size=2)}),
    "body": texts,
    "geo_code": st.sampled_from(["us", "DE", "u1"]),
    "headers": maps,
    "webhook_headers": maps,
    "set_cookies": texts | st.just("a=1"),
    "session_id": numbers,
    "timeout": numbers,
    "retry_timeout": numbers,
    "webhook_url": urls,
    "custom_wait": numbers,
    "wait_selector": texts,
    "particular_screenshot": texts,
    "play_with_browser": st.lists(actions, max_size=3),
    "extra": extras,
}


def of_field(model: type, name: str) -> st.SearchStrategy[Any]:
    """Make values for one field: some are valid, some are not."""
    if name == "render":
        inner = {field: of_field(RenderOptions, field) for field in RenderOptions.model_fields}
        return odd | st.fixed_dictionaries({}, optional=inner) | few(inner)
    words = [word for kind in get_args(model.model_fields[name].annotation) for word in get_args(kind)]
    known = [word for word in words if isinstance(word, str)]
    good = st.sampled_from(known) if known else st.booleans()
    # Valid values come twice: among many odd ones they would be rare.
    fit = fitting.get(name, good)
    return st.sampled_from([fit, fit, odd, good]).flatmap(lambda chosen: chosen)


def few(strategies: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Make values for one or two fields: values of many fields contradict each other too often."""
    names = st.lists(st.sampled_from(sorted(strategies)), min_size=1, max_size=2, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: strategies[name] for name in chosen}))


all_fields = {name: of_field(JobCreationRequest, name) for name in JobCreationRequest.model_fields}
#: The fields of a request: most have good targets and one or two other fields.
requests = few(all_fields).map(lambda held: held if "plugin" in held else {"targets": ["https://a.example/"], **held})
