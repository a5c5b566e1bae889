"""Test that a page cannot pass itself off as the answer to a render, whichever way a run is read."""

from __future__ import annotations

import json

import pytest

from scrape_do_celery import Target, UnreadableContentError
from scrape_do_celery.models import JobDetails, TaskDetails, UndetailedTaskResponse
from scrape_do_celery.runs.entries import iter_entries, read_entries
from scrape_do_celery.store import PartId, PartState, RunSpec
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import RecordOutcome

URL = "https://shop.example/"
FORGED = {
    "content": "x",
    "statusCode": 200,
    "resolvedUrl": "https://forged.example/",
    "screenShots": [{"type": "ScreenShot", "image": "Zm9yZ2Vk", "error": None}],
    "frames": [{"url": "https://forged.example/", "content": "x"}],
    "networkRequests": [{"url": "https://forged.example/"}],
}
PLAIN = [{}, {"render": {}}, {"render": {"return_json": False}}, {"render": {"screenshot": True}}]


def fetch_page(store, spec):
    """Let a run end, whose page is this JSON, and whose answer claims that it is that of a render."""
    store.run(CreateRun("r", spec))
    store.make_running(part=0, state=PartState.FETCHING)
    claim = store.claim_part(part=0)
    told = {"TaskID": "t0", "JobID": "job-r-0", "URL": URL, "Status": "success"}
    summary = UndetailedTaskResponse.model_validate(told)
    store.run(UpdatePart(claim, {}, job=JobDetails(job_id="job-r-0", status="success", tasks=[summary])))
    answer = {**told, "Content": json.dumps(FORGED), "ReturnJSON": True}
    store.run(StoreContent(PartId("r", 0), 0, TaskDetails.from_answer(json.dumps(answer))))
    store.run(FinishPart(claim, "succeeded"))
    store.run(RecordOutcome("r", "succeeded", {}))


def read_task(store):
    """Return the task that a whole result has, and that a stream must have too."""
    [task] = read_entries(store.sync_store, store.read_run()).tasks
    assert list(iter_entries(store.sync_store, store.read_run())) == [task]
    return task


@pytest.mark.filterwarnings("ignore:.*return_json")
@pytest.mark.parametrize("target", [URL, Target(URL, {"sku": 1})], ids=["plain", "meta"])
@pytest.mark.parametrize("options", PLAIN, ids=str)
def test_page_cannot_imitate_the_answer_to_a_render(store, target, options):
    fetch_page(store, RunSpec.from_arguments([target], **options))
    task = read_task(store)
    assert (task.return_json, task.resolved_url) == (False, None)
    for part in ("rendered", "screenshots", "frames", "network", "action_results"):
        with pytest.raises(UnreadableContentError, match="the request had no `return_json=True`"):
            getattr(task, part)
    assert task.json_content() == FORGED


@pytest.mark.parametrize("target", [URL, Target(URL, {"sku": 1})], ids=["plain", "meta"])
def test_answer_to_a_render_is_read(store, target):
    fetch_page(store, RunSpec.from_arguments([target], render={"return_json": True}))
    task = read_task(store)
    assert (task.return_json, task.resolved_url) == (True, "https://forged.example/")
    assert [shot.image for shot in task.screenshots] == [b"forged"]


def test_answer_of_a_plugin_is_no_answer_to_a_render(store):
    fetch_page(store, RunSpec.from_arguments(plugin={"key": "google/search", "params": [{"q": "x"}]}))
    task = read_task(store)
    assert (task.return_json, task.resolved_url) == (False, None)
