"""Test that the options of a run and the fields of a request are declared once."""

from __future__ import annotations

import ast
import collections.abc
import inspect
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import pytest

import scrape_do_celery
from scrape_do_celery import enqueue, enqueue_many, models, scheduled_run
from scrape_do_celery.models import (
    BrowserAction,
    ForeignModel,
    JobCreationRequest,
    JobFields,
    PluginFields,
    PluginRequest,
    RenderFields,
    RenderOptions,
    RequestFields,
)
from scrape_do_celery.models.requests import ENQUEUE_ARGUMENTS, RUN_OPTION_NAMES
from scrape_do_celery.redaction import request_summary
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.options import RUN_OPTIONS, EnqueueOptions, RunOptions

SOURCE = Path(scrape_do_celery.__file__).parent
REQUEST = JobCreationRequest(targets=["https://a.example/"])


def hints(cls):
    """Return the types of the fields of a model or a dict."""
    names = cls.__annotations__ if isinstance(cls, type(RequestFields)) else cls.model_fields
    found = typing.get_type_hints(cls, localns={**vars(models), **vars(collections.abc)})
    return {name: found[name] for name in names}


def test_request_fields_are_those_of_the_model_with_their_types():
    expected = {name: kind for name, kind in hints(JobCreationRequest).items() if name != "targets"}
    # A caller may write a dict or another library's model in place of a model, and any mapping in place of a dict.
    wider = {
        "plugin": PluginRequest | PluginFields | ForeignModel | None,
        "render": RenderOptions | RenderFields | ForeignModel | None,
        **dict.fromkeys(("headers", "webhook_headers"), Mapping[str, str] | None),
        "extra": Mapping[str, typing.Any] | None,
    }
    assert hints(RequestFields) == expected | wider
    del expected["timeout"]
    assert hints(JobFields) == expected | wider | {"targets": Iterable[str] | None}


def test_models_know_the_names_of_options_and_arguments():
    assert RUN_OPTION_NAMES == RUN_OPTIONS
    arguments = [one for one in inspect.signature(enqueue).parameters.values() if one.kind is one.KEYWORD_ONLY]
    assert set(ENQUEUE_ARGUMENTS) == {one.name for one in arguments} - EnqueueOptions.__annotations__.keys()


def test_render_fields_are_those_of_the_model_with_their_types():
    actions = Sequence[BrowserAction | Mapping[str, typing.Any] | ForeignModel] | None
    wider = {"actions": actions, "play_with_browser": actions, "extra": Mapping[str, typing.Any] | None}
    assert hints(RenderFields) == hints(RenderOptions) | wider


def test_plugin_fields_are_those_of_the_model():
    assert PluginFields.__annotations__.keys() == PluginRequest.model_fields.keys()


def test_spec_has_the_run_options_with_their_types():
    spec = typing.get_type_hints(RunSpec, localns=vars(collections.abc))
    assert [one.name for one in fields(RunSpec)] == ["request", *RUN_OPTIONS, "inputs", "part_size"]
    assert typing.get_type_hints(RunOptions, localns=vars(collections.abc)) == {
        name: spec[name] for name in RUN_OPTIONS
    }


@pytest.mark.parametrize("function", [enqueue, enqueue_many, scheduled_run])
def test_functions_that_start_runs_take_all_options(function):
    assert inspect.signature(function).parameters["options"].annotation == "Unpack[EnqueueOptions]"
    assert EnqueueOptions.__annotations__.keys() == {*RUN_OPTIONS, *RequestFields.__annotations__}


def test_options_of_a_spec_make_an_equal_spec():
    spec = RunSpec(REQUEST, raise_on_task_failure=True, max_wait=60, early=True)
    assert {"raise_on_task_failure": True, "max_wait": 60.0, "early": True}.items() <= spec.run_options.items()
    assert RunSpec.from_arguments(REQUEST, **spec.run_options) == spec


def names_in(path):
    """Return the names, arguments and texts in the code of a module, as names of Python."""
    for node in ast.walk(ast.parse(path.read_text())):
        yield from (value.lstrip("-").replace("-", "_") for _, value in ast.iter_fields(node) if isinstance(value, str))


def test_new_option_touches_four_files():
    """An option is in its declaration, its step, its command and the names for hints; summaries may show it, too."""
    summaries = Path(inspect.getfile(request_summary))
    modules = {path for path in SOURCE.rglob("*.py") if "raise_on_task_failure" in names_in(path)} - {summaries}
    assert sorted(path.name for path in modules) == ["aggregate.py", "options.py", "requests.py", "runs.py"]


def test_producers_repeat_no_option():
    # A status and a filter have the names of labels and tags as well. The name of a schedule is the label of its runs.
    readers = {"status.py", "listing.py", "ticks.py"}
    modules = sorted(path for path in (SOURCE / "runs").glob("*.py") if path.name not in readers)
    assert [(path.name, name) for path in modules for name in names_in(path) if name in RUN_OPTIONS] == []


@pytest.mark.parametrize("name", ["raise_on_task_failure", "early", "dedupe"])
def test_a_text_is_no_flag(name):
    with pytest.raises(ValueError, match=f"{name} must be True or False, not str"):
        RunSpec.from_arguments(["https://a.example/"], **{name: "no"})
    assert RunSpec.from_arguments(["https://a.example/"], **{name: 0}) == RunSpec.from_arguments(
        ["https://a.example/"], **{name: False}
    )
