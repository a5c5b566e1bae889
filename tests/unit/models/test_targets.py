"""Test targets with data of the caller: copies, faults with their positions, and nothing in texts."""

from __future__ import annotations

import copy
import json
import pickle
from types import MappingProxyType

import pytest
from kombu.utils.json import dumps

from scrape_do_celery import Target, TaskDetails, TaskFailedError
from scrape_do_celery.models import MAX_META_BYTES
from scrape_do_celery.models.targets import split_targets

URL = "https://a.example/"
TASK = {"TaskID": "t", "JobID": "j", "Status": "error", "URL": URL}


def test_target_keeps_a_copy():
    meta = {"sku": "A", "sizes": [1, 2]}
    target = Target(URL, meta)
    meta["sizes"].append(3)
    assert target.meta == {"sku": "A", "sizes": [1, 2]}
    target.meta["sku"] = "B"
    assert split_targets([target]) == ([URL], ('{"sku":"A","sizes":[1,2]}',))


def test_targets_compare_and_travel():
    target = Target(URL, {"sku": "A"})
    assert target == Target(url=URL, meta={"sku": "A"}) != Target(URL)
    assert pickle.loads(pickle.dumps(target)) == target
    assert json.loads(dumps([target])) == [{"url": URL, "meta": {"sku": "A"}}]
    with pytest.raises(AttributeError):
        target.url = "https://b.example/"


def test_texts_show_only_that_there_is_meta():
    assert repr(Target(URL, {"sku": "secret"})) == "Target('https://a.example/***', meta=***)"
    assert repr(Target("https://u:secret@a.example/secret?q=secret")) == "Target('https://a.example/***')"
    assert repr(Target(5)) == repr(Target("secret")) == "Target(***)"
    task = TaskDetails.model_validate(TASK).model_copy(update={"meta": {"sku": "secret"}})
    assert "meta=***" in repr(task).replace("'", "")
    assert "secret" not in repr(task)
    assert ", meta=" not in repr(TaskDetails.model_validate(TASK))


@pytest.mark.parametrize("build", [TaskFailedError, lambda task: TaskFailedError(task.to_wire())])
def test_errors_carry_no_meta(build):
    task = TaskDetails.model_validate(TASK).model_copy(update={"meta": {"sku": "secret"}})
    error = build(task)
    assert "secret" not in repr(error.args)
    assert error.task.meta is None


def test_meta_is_in_the_json_of_a_task_and_comes_back():
    task = TaskDetails.model_validate(TASK).model_copy(update={"meta": {"sku": "A"}})
    assert task.to_wire()["Meta"] == {"sku": "A"}
    assert TaskDetails.from_json(task.model_dump_json()) == task


class OwnTask(TaskDetails):
    number: int = 0


@pytest.mark.parametrize("kind", [TaskDetails, OwnTask])
def test_each_read_of_meta_gives_a_copy(kind):
    task = kind.model_validate({**TASK, "Meta": {"tags": ["a"]}})
    same = [task, copy.copy(task), copy.deepcopy(task), pickle.loads(pickle.dumps(task)), task.model_copy()]
    task.meta["sku"] = "of another caller"
    task.meta["tags"].append("of another caller")
    for one in [*same, kind.from_json(task.model_dump_json()), kind.from_json(task.model_dump_json(by_alias=True))]:
        assert (one.meta, one) == ({"tags": ["a"]}, task)
        assert one.to_wire()["Meta"] == one.model_dump()["meta"] == {"tags": ["a"]}
    with pytest.raises(ValueError, match="frozen"):
        task.meta = None
    assert kind.model_validate(TASK).meta is None
    assert kind.model_fields["meta"].default is None


def test_answer_of_the_api_sets_no_meta():
    assert TaskDetails.from_answer({**TASK, "Meta": {"sku": "forged"}}).meta is None
    assert TaskDetails.from_answer(json.dumps({**TASK, "Gone": True, "Meta": 1})).meta is None


@pytest.mark.parametrize(
    "inputs",
    [
        [Target(URL, {"a": 1}), URL, Target(URL)],
        [{"url": URL, "meta": {"a": 1}}, {"url": URL}, {"url": URL, "meta": None}],
        [MappingProxyType({"url": URL, "meta": MappingProxyType({"a": 1})}), URL, URL],
    ],
    ids=["targets", "objects", "mappings"],
)
def test_inputs_are_split(inputs):
    assert split_targets(inputs) == ([URL] * 3, ('{"a":1}', None, None))


@pytest.mark.parametrize("meta", ["text", 0, False, [], {}, 1.5, "ü" * 500])
def test_any_json_is_a_meta(meta):
    (text,) = split_targets([Target(URL, meta)])[1]
    assert json.loads(text) == meta


def test_inputs_without_meta_have_no_texts():
    assert split_targets([URL, URL]) == ([URL, URL], None)
    assert split_targets([Target(URL), {"url": URL}]) == ([URL, URL], None)


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (Target(URL, object()), "targets[1].meta is of type object"),
        (Target(URL, {"a": float("nan")}), "targets[1].meta['a'] is a number that JSON cannot write"),
        (Target(URL, {1: 2}), "targets[1].meta: the key int must be text"),
        (Target(URL, ["\ud800"]), "targets[1].meta[0] holds a lone surrogate"),
        (Target(URL, (1, 2)), "targets[1].meta is of type tuple"),
        (Target(URL, "x" * MAX_META_BYTES), "targets[1].meta has 1,026 bytes of JSON; use at most 1,024"),
        (Target(URL, "ü" * 512), "targets[1].meta has 1,026 bytes of JSON"),
        ({"url": URL, "mete": 1}, "targets[1] has no field 'mete'; did you mean meta?"),
        ({"meta": 1}, "targets[1] has no url"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fault_names_the_position(wrong, fault):
    with pytest.raises(ValueError, match="targets") as caught:
        split_targets([URL, wrong, URL])
    assert fault in str(caught.value)


def test_all_faults_are_named():
    with pytest.raises(ValueError, match="and 2 more") as caught:
        split_targets([Target(URL, object())] * 7)
    assert "targets[4]" in str(caught.value)


def test_meta_of_the_largest_size_is_taken():
    text = "x" * (MAX_META_BYTES - 2)
    assert split_targets([Target(URL, text)]) == ([URL], (f'"{text}"',))


def test_nested_meta_that_contains_itself_is_a_fault():
    loop = {}
    loop["self"] = loop
    with pytest.raises(ValueError, match=r"targets\[0\]\.meta.* is nested in more than"):
        split_targets([Target(URL, loop)])
