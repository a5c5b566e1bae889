"""Check docs/reference/plugins.md against the classes. `python -m tests.docs.test_plugins_page` writes the page."""

from __future__ import annotations

import inspect
import json
import re
import types
import warnings
from datetime import date
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from scrape_do_celery.models import plugins as public
from scrape_do_celery.models.plugins.fields import Bounds, CalendarDay, LongestText, ValueMark, Words
from scrape_do_celery.models.plugins.plugin import PLUGINS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "plugins.md"
HEAD = """# Plugins

A plugin returns data of a website in place of its page. Give `enqueue` a plugin and its parameter sets. Each set is one
task:

```python
from scrape_do_celery import GoogleSearch, SearchParams, enqueue

enqueue(plugin=GoogleSearch([SearchParams(q="coffee grinder"), SearchParams(q="espresso machine")]))
enqueue(plugin=GoogleSearch([{"q": "coffee grinder"}]))
enqueue(plugin={"key": "google/search", "params": [{"q": "coffee grinder"}]})
```

- A parameter has a name in Python and a name in the API. If they differ, the tables show both, and dicts may use both.
- A missing parameter, a wrong type and an unknown name are refused with `ValueError`.
- The column "other values" is about values of the right type that are not listed, out of bounds or of another form.
  `refused` means `ValueError`: the good values are Scrape.do's own. `warning` means that the value is sent, and that
  your line gets a `RequestWarning`: only a client of somebody else refuses the value.
- `extra={"name": value}` sends a parameter that is newer than this package. Every set takes it.
- `Plugin("new/key", [...])` sends a plugin that is newer than this package. Its sets are not checked.
- Credits are those of one successful task. The estimate of a run counts 1 credit if no source names the price.

This page is generated from the classes: `python -m tests.docs.test_plugins_page` writes it.

"""
TYPES = {str: "text", int: "whole number", bool: "true or false", date: "day"}


def hint_of(params: type[public.PluginParams], name: str) -> tuple[Any, list[Any]]:
    """Return the type of a parameter without `None`, and the marks of the type."""
    one, marks = get_type_hints(params, include_extras=True)[name], []
    while get_origin(one) in {Annotated, types.UnionType, Union}:
        if get_origin(one) is Annotated:
            one, *more = get_args(one)
            marks += more
        else:
            kinds = [kind for kind in get_args(one) if kind is not types.NoneType]
            one = kinds[0]
            if len(kinds) > 1:
                break
    return one, marks


def type_of(params: type[public.PluginParams], name: str) -> str:
    kind, marks = hint_of(params, name)
    if get_origin(kind) is Literal:
        return " ".join(f"`{json.dumps(word)}`" for word in get_args(kind))
    if any(isinstance(mark, CalendarDay) for mark in marks):
        return "day"
    bounds = next((f", {mark}" for mark in marks if isinstance(mark, Bounds)), "")
    return f"{TYPES[kind]}{bounds}"


def others_of(params: type[public.PluginParams], name: str) -> str:
    """Return how a value ends that has the right type and is not known to be good."""
    for mark in hint_of(params, name)[1]:
        if isinstance(mark, Words):
            return "refused" if mark.proven else "warning"
        if isinstance(mark, CalendarDay):
            return "warning" if mark.loose else "refused"
        if isinstance(mark, ValueMark):
            return "warning"
    return ""


def comment_of(params: type[public.PluginParams], name: str) -> str:
    """Return the comment above a field, of the class or of the base class that declares the field."""
    for owner in params.__mro__:
        lines = inspect.getsource(owner).splitlines() if name in vars(owner).get("__annotations__", {}) else []
        for at, line in enumerate(lines):
            if re.match(rf"    {name}: ", line):
                above = [*takewhile(lambda text: text.startswith("    #: "), reversed(lines[:at]))]
                return " ".join(text.removeprefix("    #: ") for text in reversed(above))
    raise AssertionError(name)


def names_of(params: type[public.PluginParams]) -> list[str]:
    """Return the parameters: first the required ones."""
    names = [name for name in params.model_fields if name != "extra"]
    return sorted(names, key=lambda name: (not params.model_fields[name].is_required(), name not in params.ONE_OF))


def requirement_of(params: type[public.PluginParams], name: str) -> str:
    if params.model_fields[name].is_required():
        return "yes"
    return "one of these" if name in params.ONE_OF else ""


def needs_of(params: type[public.PluginParams]) -> str:
    needed = [f"`{name}`" for name in names_of(params) if params.model_fields[name].is_required()]
    if params.ONE_OF:
        needed.append(" or ".join(f"`{name}`" for name in params.ONE_OF))
    return ", ".join(needed)


def exclusion_of(params: type[public.PluginParams]) -> list[str]:
    """Return the paragraph about parameters that exclude each other."""
    if not params.EXCLUSIVE:
        return []
    names = ", ".join(f"`{name}`" for name in params.EXCLUSIVE)
    return [f"Give only one of {names}. More than one is sent with a warning.", ""]


def credits_of(plugin: Any) -> str:
    each = plugin.CREDITS
    if plugin.credits_of({"super": True}) != each:
        return f"{plugin.credits_of({'super': True})} with `super`"
    return "not known" if each is None else str(each)


def anchor(key: str) -> str:
    return key.replace("/", "")


def overview() -> str:
    rows = [
        f"| [`{key}`](#{anchor(key)}) | `{plugin.__name__}` | `{plugin.PARAMS.__name__}` | {needs_of(plugin.PARAMS)} "
        f"| {credits_of(plugin)} |"
        for key, plugin in sorted(PLUGINS.items())
    ]
    return "\n".join(["| key | class | parameter set | needs | credits |", "|---|---|---|---|---|", *rows, ""])


def example_of(plugin: Any) -> str:
    """Return the call that makes the example, which ruff would not change."""
    fields = ", ".join(f"{name}={python(value)}" for name, value in plugin.EXAMPLE.items())
    call = f"{plugin.__name__}([{plugin.PARAMS.__name__}({fields})])"
    if len(call) <= 100:
        return call
    lines = "".join(f"    {name}={python(value)},\n" for name, value in plugin.EXAMPLE.items())
    return f"params = {plugin.PARAMS.__name__}(\n{lines})\n{plugin.__name__}([params])"


def python(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def section(key: str, plugin: Any) -> str:
    params = plugin.PARAMS
    rows = []
    for name in names_of(params):
        wire = params.spell_name(name)
        shown = f"`{name}`" if wire == name else f"`{name}`, `{wire}`"
        text = comment_of(params, name).replace("|", "\\|")
        rows.append(
            f"| {shown} | {type_of(params, name)} | {requirement_of(params, name)} | {others_of(params, name)} "
            f"| {text} |"
        )
    return "\n".join(
        [
            f"## {key}",
            "",
            inspect.getdoc(plugin) or "",
            "",
            "```python",
            example_of(plugin),
            "```",
            "",
            "| parameter | type | required | other values | meaning |",
            "|---|---|---|---|---|",
            *rows,
            "",
            *exclusion_of(params),
        ]
    )


def classes() -> str:
    lines = ["## Classes", "", "::: scrape_do_celery.Plugin", "", "::: scrape_do_celery.PluginRequest", ""]
    hidden = "    options:\n      heading_level: 3\n      members: false\n"
    typed = [name for name in public.__all__ if name not in {"Plugin", "PluginRequest"}]
    return "\n".join([*lines, *(f"::: scrape_do_celery.{name}\n{hidden}" for name in typed)])


def page() -> str:
    sections = [section(key, plugin) for key, plugin in sorted(PLUGINS.items())]
    return HEAD + "\n".join([overview(), *sections, classes()])


def test_the_page_is_that_of_the_classes():
    assert page() == PAGE.read_text(), "run: python -m tests.docs.test_plugins_page"


@pytest.mark.parametrize("key", PLUGINS)
def test_the_page_shows_each_parameter_and_an_example_that_can_be_sent(key):
    plugin = PLUGINS[key]
    statements, _, call = example_of(plugin).rpartition("\n")
    names = {name: getattr(public, name) for name in public.__all__}
    exec(statements, names)
    assert eval(call, names) == plugin([plugin.EXAMPLE])
    text = section(key, plugin)
    for name in names_of(plugin.PARAMS):
        assert f"`{plugin.PARAMS.spell_name(name)}`" in text
        assert comment_of(plugin.PARAMS, name)
        assert type_of(plugin.PARAMS, name)


ODD = {str: "no such word", int: -1, date: "soon"}
MARKED = [
    pytest.param(plugin, name, id=f"{key}-{name}")
    for key, plugin in PLUGINS.items()
    for name in names_of(plugin.PARAMS)
    if others_of(plugin.PARAMS, name)
]


@pytest.mark.parametrize(("plugin", "name"), MARKED)
def test_other_values_end_as_the_page_says(plugin, name):
    kind, marks = hint_of(plugin.PARAMS, name)
    kind = type(get_args(kind)[0]) if get_origin(kind) is Literal else kind
    longest = next((mark.length for mark in marks if isinstance(mark, LongestText)), 0)
    odd = "a" * (longest + 1) if longest else ODD[kind]
    given = plugin.EXAMPLE | {name: odd}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            plugin([given])
        except ValueError as error:
            ending, text = "refused", str(error)
        else:
            ending, text = "warning", " ".join(str(one.message) for one in caught)
    assert ending == others_of(plugin.PARAMS, name)
    assert name in text


def test_the_page_lists_all_plugins():
    assert len(PLUGINS) == 28
    assert len(re.findall(r"^\| \[`[\w/-]+`\]", PAGE.read_text(), re.MULTILINE)) == 28


if __name__ == "__main__":
    PAGE.write_text(page())
