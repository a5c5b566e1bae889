"""Test that runs with other keys are bought in turns, by a real worker, by the order of purchases at the sandbox."""

from __future__ import annotations

import pytest
from pipeline import Pipeline

from scrape_do_celery.rules.waits import WaitKind

URL = "https://shop.example"


def is_in_line(handle):
    waiting_for = handle.status.waiting_for
    return waiting_for is not None and waiting_for.kind is WaitKind.IN_LINE


@pytest.mark.long
def test_small_run_is_bought_after_one_more_job_of_a_large_run_at_most(server_url, sandbox, tmp_path, eventually):
    with Pipeline(server_url, sandbox, tmp_path, "fair", max_active_jobs=1, targets_per_job=1) as pipeline:
        pipeline.work()
        first = pipeline.enqueue([f"{URL}/first?seconds=600"])
        eventually(lambda: first.state == "running")
        store = pipeline.app_context.store
        waiters = store.keys.slot_waiters(pipeline.settings.account_id)
        large = pipeline.enqueue([f"{URL}/large/{n}" for n in range(6)], fairness_key="large")
        eventually(lambda: store.client.zcard(waiters) == 6)
        small = pipeline.enqueue([f"{URL}/small"], fairness_key="small")
        eventually(lambda: is_in_line(small))
        first.cancel()
        for handle in (small, large):
            handle.result(timeout=90)
        bought = [job["tasks"][0]["url"].split("/")[3] for job in sandbox.jobs()]
        assert bought.index("small") <= 2, bought
        assert bought.count("large") == 6
        kinds = {key.split(":")[1] for key in pipeline.stored_keys()}
        assert kinds.isdisjoint({"slots", "slot_waiters", "slot_line", "slot_turns", "new_turn"})
