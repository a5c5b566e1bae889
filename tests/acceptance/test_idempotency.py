"""Test that repeated messages and forgotten runs buy nothing."""

from __future__ import annotations

import pytest

from scrape_do_celery import RunNotFoundError

TARGET = ["https://a.example/"]


def test_repeated_message_after_forget_buys_nothing(pipeline, eventually):
    pipeline.work()
    send = {"kwargs": {"targets": TARGET}, "queue": pipeline.prefix, "task_id": f"again-{pipeline.prefix}"}
    result = pipeline.app.send_task("scrape_do.scrape", **send)
    result.get(timeout=150)
    handle = pipeline.handle(result.id)
    eventually(lambda: not [key for key in pipeline.stored_keys() if key.endswith(":due")])
    handle.forget()
    pipeline.app.send_task("scrape_do.scrape", **send)
    later = pipeline.enqueue(["https://later.example/"])
    later.result(timeout=150)
    assert pipeline.posts() == 2
    with pytest.raises(RunNotFoundError):
        _ = handle.state


def test_forget_right_after_the_result_still_delivers_it(pipeline, eventually):
    pipeline.work()
    handles = [pipeline.enqueue([f"https://a.example/{n}"], idempotency_key=f"k{n}") for n in range(8)]
    for handle in handles:
        handle.result(timeout=150)
        handle.forget()
    marks = {f"{pipeline.prefix}:run:{handle.run_id}" for handle in handles}
    standing = (":clock", ":expiring", ":epoch", ":accounts", ":list_poll:", ":quota", ":totals", ":stored", ":order")
    standing += (":prices:", ":account:", ":balance:")
    marks_of_workers = (":namespace_owner", ":account_reading:", ":budget_check")
    beside = (":owner:", ":ledger:", ":spend:", ":host_spend:", *marks_of_workers, *standing)
    eventually(lambda: {key for key in pipeline.stored_keys() if not any(word in key for word in beside)} <= marks)
    client = pipeline.app_context.store.client
    passing = [key for key in pipeline.stored_keys() if not any(word in key for word in standing)]
    assert all(client.ttl(key) > 0 for key in passing)


def test_second_message_of_a_forgotten_waiter_buys_nothing(pipeline, eventually):
    pipeline.work()
    names = [f"{which}-{pipeline.prefix}" for which in ("first", "second")]

    def send():
        for name in names:
            arguments = {"targets": TARGET, "idempotency_key": "shared"}
            pipeline.app.send_task("scrape_do.scrape", kwargs=arguments, queue=pipeline.prefix, task_id=name)

    send()
    handles = [pipeline.app.AsyncResult(name) for name in names]
    run_id = handles[0].get(timeout=150)["run_id"]
    assert handles[1].get(timeout=150)["run_id"] == run_id
    pipeline.handle(run_id).forget()
    eventually(lambda: not pipeline.app_context.store.client.exists(f"{pipeline.prefix}:part:{run_id}:0"))
    send()
    assert len(pipeline.enqueue(["https://later.example/"]).result(timeout=150).tasks) == 1
    assert pipeline.posts() == 2
