"""Test a store that was restored from an older copy as docs/how-to/compose.md says: nothing is bought again."""

from __future__ import annotations

import shutil

from pipeline import Pipeline

from scrape_do_celery import embedded


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


def work_until_done(pipeline, handle):
    worker = pipeline.work()
    assert len(handle.result(timeout=60).tasks) == 1
    worker.terminate()
    worker.wait(30)
