"""Test the docstrings of the reference: public functions describe each argument, and each field has a text."""

from __future__ import annotations

import inspect
import re
from itertools import pairwise

import pytest
from pydantic import BaseModel

import scrape_do_celery
from scrape_do_celery import RunHandle

PUBLIC = {name: getattr(scrape_do_celery, name) for name in scrape_do_celery.__all__}
FUNCTIONS = {name: one for name, one in PUBLIC.items() if inspect.isfunction(one)}
METHODS = {
    f"RunHandle.{name}": one
    for name, one in inspect.getmembers(RunHandle, inspect.isfunction)
    if not name.startswith("_")
}
CLIENTS = {name: PUBLIC[name] for name in ("ScrapeDoAsyncAPIClient", "AsyncScrapeDoAsyncAPIClient")}
#: The table of the settings describes the settings.
MODELS = {
    name: one
    for name, one in PUBLIC.items()
    if inspect.isclass(one) and issubclass(one, BaseModel) and one is not scrape_do_celery.Settings
}
_FIELD = re.compile(r"^    (?!model_config)([a-z]\w*): (?!ClassVar)")


def described(one):
    """Return the names that the section `Args` describes."""
    section = re.search(r"^Args:\n(.*?)(?=^\w|\Z)", inspect.getdoc(one), re.DOTALL | re.MULTILINE)
    return set(re.findall(r"^    \**(\w+): ", section[1], re.MULTILINE)) if section else set()


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS, "RunHandle", *CLIENTS])
def test_every_argument_is_described(name):
    one = {**PUBLIC, **METHODS}[name]
    arguments = set(inspect.signature(one).parameters) - {"self", "app_context"}
    assert arguments - described(one) == set()
    assert described(one) <= arguments


def undescribed_fields(model):
    """Return fields without a `#:` comment, of the model and of its bases in this package."""
    for owner in model.__mro__:
        if not owner.__module__.startswith("scrape_do_celery"):
            continue
        lines = inspect.getsource(owner).splitlines()
        for before, line in pairwise(lines):
            field = _FIELD.match(line)
            if field and field[1] in model.model_fields and not ("#: " in line or before.lstrip().startswith("#: ")):
                yield field[1]


@pytest.mark.parametrize("name", MODELS)
def test_every_field_of_a_public_model_is_described(name):
    assert list(undescribed_fields(MODELS[name])) == []
