"""Test a SIGKILL at each point of each step: the run still ends, and nothing is bought twice."""

from __future__ import annotations

import json
import os
import signal

import pytest

from scrape_do_celery import JobCanceledError

TARGETS = ["https://a.example/1", "https://a.example/2", "https://a.example/3"]

POINTS = [
    "after claim_part",
    "before write_intent",
    "after write_intent",
    "before POST job",
    "after POST job",
    "after update_part running",
    "before GET job",
    "after GET job",
    "before update_part fetching",
    "after update_part fetching",
    "before GET task",
    "before store_content",
    "after store_content",
    "before finish_part",
    "after finish_part",
    "before publish scrape_do.aggregate_run",
    "before record_outcome",
    "after record_outcome",
    "before acknowledge_delivery",
    "after acknowledge_delivery",
]
#: The points at which money or a page may be lost.
CRITICAL = {"after write_intent", "after POST job", "before store_content", "after finish_part"}


@pytest.mark.parametrize(
    "point", [point if point in CRITICAL else pytest.param(point, marks=pytest.mark.long) for point in POINTS]
)
def test_a_run_survives(pipeline, point):
    doomed = pipeline.work(app="app_kills_itself", DIE=point)
    handle = pipeline.enqueue(TARGETS)
    assert doomed.wait(30) == -9, f"{point!r} was never reached"
    pipeline.work()
    result = handle.result(timeout=150)
    assert [task.url for task in result.tasks] == TARGETS
    assert pipeline.posts() == 1
    assert handle.async_result.get(timeout=150)["counts"]["succeeded"] == 3


@pytest.mark.parametrize(
    "point",
    [
        "after accept_run",
        pytest.param("before accept_run", marks=pytest.mark.long),
        pytest.param("before publish scrape_do.submit_jobs", marks=pytest.mark.long),
    ],
)
def test_a_scrape_survives(pipeline, point):
    doomed = pipeline.work(app="app_kills_itself", DIE=point)
    result = pipeline.scrape(targets=TARGETS)
    assert doomed.wait(30) == -9
    pipeline.work()
    assert result.get(timeout=150)["counts"]["succeeded"] == 3
    assert pipeline.posts() == 1


@pytest.mark.long
@pytest.mark.parametrize("point", ["in pages.jsonl", "after pages.jsonl"])
def test_an_export_survives(pipeline, eventually, point):
    """Kill the worker while it exports, or between the last byte and its note: each row is there once."""
    folder = pipeline.folder / "exports"
    doomed = pipeline.work(app="app_kills_itself", DIE=point)
    handle = pipeline.enqueue(TARGETS, export=f"{folder}/pages.jsonl")
    assert doomed.wait(30) == -9
    assert (handle.state, handle.status.export.has_ended) == ("succeeded", False)
    assert (folder / "pages.jsonl").exists() == (point == "after pages.jsonl")
    pipeline.work()
    eventually(lambda: handle.status.export.has_ended)
    assert str(handle.status.export.state) == "done"
    rows = [json.loads(line) for line in (folder / "pages.jsonl").read_bytes().splitlines()]
    assert [path.name for path in folder.iterdir() if path.suffix != ".part"] == ["pages.jsonl"]
    assert [(row["number"], row["url"], row["run_id"]) for row in rows] == [
        (number, url, handle.run_id) for number, url in enumerate(TARGETS, start=1)
    ]
    assert pipeline.posts() == 1


@pytest.mark.long
@pytest.mark.parametrize("point", ["before DELETE job", "after DELETE job"])
def test_a_cancel_survives(pipeline, point, eventually):
    doomed = pipeline.work(app="app_kills_itself", DIE=point)
    handle = pipeline.enqueue(["https://a.example/?seconds=60"])
    eventually(lambda: handle.state == "running")
    assert handle.cancel()
    assert doomed.wait(30) == -9
    pipeline.work()
    with pytest.raises(JobCanceledError):
        handle.result(timeout=150)
    assert pipeline.posts() == 1
    assert pipeline.sandbox.jobs()[0]["canceled"]


def test_page_that_kills_its_worker_poisons_only_its_run(pipeline, eventually):
    pipeline.values["poison_after"] = 3
    hosts = [f"innocent{n}" for n in range(12)]
    hosts.insert(6, "deadly")
    handles = {host: pipeline.enqueue([f"https://{host}.example/"]) for host in hosts}
    deaths = 0
    while any(handle.state not in {"succeeded", "poisoned"} for handle in handles.values()):
        worker = pipeline.work(app="app_killed_by_page", concurrency=16)
        eventually(
            lambda: worker.poll() is not None or all(h.state in {"succeeded", "poisoned"} for h in handles.values()),  # noqa: B023 (called at once)
            within=120,
        )
        deaths += worker.poll() == -9
        assert deaths <= pipeline.values["poison_after"]
    states = {host: handle.state for host, handle in handles.items()}
    assert states == {host: "poisoned" if host == "deadly" else "succeeded" for host in hosts}
    assert (deaths, pipeline.posts()) == (pipeline.values["poison_after"], 13)


@pytest.mark.long
def test_progress_resets_the_poison_count(pipeline, eventually):
    """Kill the worker after every few pages, several times: each page counts as progress."""
    pipeline.values["poison_after"] = 2
    pipeline.values["fetch_concurrency"] = 1
    pipeline.sandbox.fault("slow", kind="get_task", seconds=0.3)
    handle = pipeline.enqueue([f"https://a.example/{n}" for n in range(12)])
    client, contents = pipeline.app_context.store.client, f"{pipeline.prefix}:contents:{handle.run_id}:0"
    for _ in range(4):
        worker = pipeline.work()
        before = client.hlen(contents)
        eventually(lambda: client.hlen(contents) > before + 1, within=90)  # noqa: B023 (called at once)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(10)
    pipeline.work()
    assert len(handle.result(timeout=150).succeeded) == 12
    assert pipeline.posts() == 1
