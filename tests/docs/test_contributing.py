"""Check that the recipes of CONTRIBUTING.md name things of the code: `test_architecture.py` checks all paths."""

from __future__ import annotations

import re

import pytest

from tests.docs.test_architecture import _PATH, CONTRIBUTING, resolve

RECIPES = dict(re.findall(r"^## (How to [^\n]+)\n(.*?)(?=^## )", CONTRIBUTING.read_text(), re.DOTALL | re.MULTILINE))
_NAME = re.compile(r"`(\w{3,})`")


@pytest.mark.parametrize(
    "kind",
    [
        *("a run option", "a step", "an outcome", "a field of a record", "an endpoint", "a command", "a new plugin"),
        "a metric",
    ],
)
def test_there_is_a_recipe(kind):
    assert {f"How to add {kind}", f"How to use {kind}"} & set(RECIPES)


@pytest.mark.parametrize("title", RECIPES)
def test_every_name_of_a_recipe_is_in_one_of_its_files(title):
    paths = [resolve(path) for path, _ in _PATH.findall(RECIPES[title])]
    words = {word for path in paths for word in re.findall(r"\w+", f"{path} {path.read_text()}")}
    assert [name for name in _NAME.findall(RECIPES[title]) if name not in words] == []
