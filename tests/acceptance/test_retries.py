"""Test with a real worker that the child of a run buys what is missing, and that the sandbox sold no page twice."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from scrape_do_celery import RunError, retry_failed

URLS = [f"https://shop.example/{name}" for name in ("good-1", "bad-1", "good-2", "bad-2", "good-3")]


def sold_pages(sandbox):
    """Return how often each target was bought, by the sandbox's own log."""
    return Counter(url for entry in sandbox.log() if entry["kind"] == "create_job" for url in entry["targets"])


def test_missing_pages_are_bought_once_and_merged_with_those_of_the_run(pipeline, sandbox):
    sandbox.fault("task_fails", target="bad")
    pipeline.work()
    handle = pipeline.enqueue(URLS)
    assert [task.is_success for task in handle.result(timeout=90).tasks] == [True, False, True, False, True]
    sandbox.clear_faults()
    with ThreadPoolExecutor(4) as pool:
        (run_id,) = {
            one.run_id for one in pool.map(lambda _: retry_failed(handle.run_id, settings=pipeline.settings), range(4))
        }
    child = pipeline.handle(run_id)
    assert [task.url for task in child.result(timeout=90).tasks] == [URLS[1], URLS[3]]
    for one in (handle, child):
        merged = one.merged()
        assert merged.lineage == (handle.run_id, run_id)
        assert [(entry.target, entry.task.url) for entry in merged.entries] == [(url, url) for url in URLS]
        assert [entry.run_id for entry in merged.entries] == [run_id if "bad" in url else handle.run_id for url in URLS]
        assert merged.missing == []
        assert merged.order_verified
        assert merged.cost == handle.status.credits + child.status.credits
    with pytest.raises(RunError, match="nothing is bought again"):
        retry_failed(handle.run_id, settings=pipeline.settings)
    assert sold_pages(sandbox) == {url: 2 if "bad" in url else 1 for url in URLS}
