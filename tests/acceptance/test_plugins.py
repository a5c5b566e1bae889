"""Test runs of plugins: each of the 28 travels as its classes say, and only failed sets are bought again."""

from __future__ import annotations

import pytest

from scrape_do_celery import GoogleSearch, JobFailedError, RunError, SearchParams, enqueue, retry_failed
from scrape_do_celery.models.plugins.plugin import PLUGINS
from scrape_do_sandbox.plugins import HTML_PLUGINS
from tests.support.peer_plugins import wire_example

WORDS = ["coffee", "tea", "milk", "bad one", "bad two"]


def bought(sandbox):
    """Return the JSON of each purchase, without the targets that the sandbox makes up for a plugin."""
    return [entry["options"] for entry in sandbox.log() if entry["kind"] == "create_job"]


@pytest.mark.long
def test_each_plugin_travels_as_its_wire_json(pipeline, sandbox):
    handles = {}
    for key, plugin in PLUGINS.items():
        newer = plugin.PARAMS(**plugin.EXAMPLE, extra={"newParameter": [1, {"a": None}]})
        sets = [plugin.PARAMS(**plugin.EXAMPLE), wire_example(key), newer]
        handles[key] = enqueue(plugin=plugin(sets), super=True, settings=pipeline.settings)
    pipeline.work()
    for key, handle in handles.items():
        tasks = handle.result(timeout=120).tasks
        answered = [key if key in HTML_PLUGINS else task.json_content()["plugin"] for task in tasks]
        assert answered == [key] * 3
    wanted = {
        key: {
            "Plugin": {
                "Key": key,
                "Params": [wire_example(key)] * 2 + [{**wire_example(key), "newParameter": [1, {"a": None}]}],
            },
            "Super": True,
        }
        for key in PLUGINS
    }
    assert {one["Plugin"]["Key"]: one for one in bought(sandbox)} == wanted
    assert len(bought(sandbox)) == 28


def start(pipeline, plugin):
    pipeline.work()
    handle = enqueue(plugin=plugin, settings=pipeline.settings)
    handle.result(timeout=90)
    return handle


@pytest.mark.long
@pytest.mark.parametrize("shuffled", [True, False])
def test_failed_sets_are_bought_again_if_each_answer_repeats_its_own(pipeline, sandbox, shuffled):
    sandbox.fault("task_fails", target="q=bad")
    if shuffled:
        sandbox.fault("job_shuffles", seed=3)
    handle = start(pipeline, GoogleSearch([SearchParams(q=word) for word in WORDS]))
    asked = [f"https://plugin.sandbox.test/google/search?q={word.replace(' ', '+')}" for word in WORDS]
    assert ([task.url for task in handle.iter_tasks()] == asked) is not shuffled
    sandbox.clear_faults()
    again = retry_failed(handle.run_id, settings=pipeline.settings)
    assert len(again.result(timeout=90).tasks) == 2
    assert bought(sandbox)[1] == {"Plugin": {"Key": "google/search", "Params": [{"q": "bad one"}, {"q": "bad two"}]}}
    merged = handle.merged()
    assert [entry.target["q"] for entry in merged.entries] == WORDS
    assert [entry.run_id for entry in merged.entries] == [
        again.run_id if "bad" in word else handle.run_id for word in WORDS
    ]
    with pytest.raises(RunError, match="nothing is bought again"):
        retry_failed(handle.run_id, settings=pipeline.settings)


@pytest.mark.long
def test_sets_that_no_answer_shows_are_bought_again_only_in_the_order_of_the_job(pipeline, sandbox):
    sandbox.fault("task_fails", target="q=bad")
    handle = start(pipeline, {"key": "google/search/ai-mode", "params": [{"q": word} for word in WORDS]})
    with pytest.raises(RunError, match="do not show which parameter sets failed"):
        retry_failed(handle.run_id, settings=pipeline.settings)
    assert len(bought(sandbox)) == 1
    sandbox.clear_faults()
    again = retry_failed(handle.run_id, trust_order=True, settings=pipeline.settings)
    assert len(again.result(timeout=90).tasks) == 2
    assert bought(sandbox)[1]["Plugin"]["Params"] == [{"q": "bad one"}, {"q": "bad two"}]


@pytest.mark.long
def test_a_run_of_one_set_needs_no_proof(pipeline, sandbox):
    sandbox.fault("task_fails", target="q=bad")
    pipeline.work()
    handle = enqueue(plugin={"key": "google/news", "params": [{"q": "bad"}]}, settings=pipeline.settings)
    with pytest.raises(JobFailedError):
        handle.result(timeout=90)
    sandbox.clear_faults()
    assert len(retry_failed(handle.run_id, settings=pipeline.settings).result(timeout=90).tasks) == 1
