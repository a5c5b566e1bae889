"""Test a store that was restored from an older copy as docs/how-to/compose.md says: nothing is bought again."""

from __future__ import annotations

import shutil

import pytest
from pipeline import Pipeline

from scrape_do_celery import InvalidRequestError, SubmitInDoubtError, embedded
from scrape_do_celery.store.codec import pack

#: The options of a request with a value that only a newer version can read.
NEWER = pack({"request": {"GeoCode": 5}})


@pytest.mark.long
def test_purchase_after_the_backup_is_found_again(sandbox, tmp_path):
    data = tmp_path / "redis" / "appendonlydir"
    with embedded.ensure(tmp_path / "redis", tie_to_parent=True, appendfsync="always") as server:
        pipeline = Pipeline(server.url, sandbox, tmp_path, "restored")
        with pipeline:
            # Otherwise the store would not know yet that its restarts lose nothing, and would reconcile anyway.
            work_until_done(pipeline, pipeline.enqueue(["https://before.example/"]))
            handle = pipeline.enqueue(["https://a.example/"])
            server.stop()
            shutil.copytree(data, tmp_path / "copy")
            server.restart()
            work_until_done(pipeline, handle)
            bought = pipeline.posts()

            server.stop()
            shutil.rmtree(data)
            shutil.copytree(tmp_path / "copy", data)
            server.restart()
            assert handle.state == "queued"
            assert pipeline.app_context.store.client.delete("restored:epoch") == 1
            work_until_done(pipeline, handle)
            assert pipeline.posts() == bought == 2


@pytest.mark.parametrize(("loses_writes", "error"), [(False, InvalidRequestError), (True, SubmitInDoubtError)])
def test_request_of_a_newer_version_ends_in_doubt_if_it_may_have_been_bought(sandbox, tmp_path, loses_writes, error):
    """Restart a server that does not sync each write: the intent of a purchase by a newer worker may be lost."""
    with (
        embedded.ensure(tmp_path / "redis", tie_to_parent=True, appendfsync="everysec") as server,
        Pipeline(server.url, sandbox, tmp_path, "newer") as pipeline,
    ):
        handle, store = pipeline.enqueue(["https://a.example/"]), pipeline.app_context.store
        store.client.hset(store.keys.run(handle.run_id), "spec", NEWER)
        if loses_writes:
            server.restart()
        pipeline.work()
        with pytest.raises(error, match="upgrade the workers"):
            handle.result(timeout=90)
        assert pipeline.posts() == 0


def work_until_done(pipeline, handle):
    worker = pipeline.work()
    assert len(handle.result(timeout=60).tasks) == 1
    worker.terminate()
    worker.wait(30)
