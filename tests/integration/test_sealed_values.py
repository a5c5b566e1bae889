"""Test a writer to Redis against a store with an encryption key: plain and moved values are refused, and harm nothing.

A refused value stays where it is. When the right value is back, the run goes on.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import pytest
from celery import signature
from pipeline import Pipeline

from scrape_do_celery import EncryptionKeyError, JobFailedError, RunHandle
from scrape_do_celery.models import JobCreationRequest, JobDetails, TaskDetails
from scrape_do_celery.store import Keys, PartId
from scrape_do_celery.store.codec import pack, pack_task
from scrape_do_celery.store.options import RunSpec
from tests.support.redis_servers import BINARIES, RedisServer

KEY = base64.b64encode(os.urandom(32)).decode()
URL, FORGED = "https://wanted.example/", "https://forged.example/"


@pytest.fixture(scope="module", params=BINARIES)
def server(request, tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("server"), BINARIES[request.param](), "--appendfsync", "always") as one:
        yield one


@pytest.fixture
def sealed(server, sandbox, tmp_path):
    """Provide a pipeline with an encryption key on a server of its own."""
    server.open_client().flushall()
    url = f"redis://127.0.0.1:{server.port}"
    urls = {"broker_url": f"{url}/1", "result_backend": f"{url}/2", "encryption_key": KEY}
    with Pipeline(f"{url}/0", sandbox, tmp_path, "sealed", **urls) as one:
        one.redis = server.open_client()
        yield one


class Forger:
    """Somebody who can write to Redis and has no key. Each value that it replaces can be put back."""

    def __init__(self, pipeline):
        self.redis, self.keys, self.before = pipeline.redis, Keys("sealed"), {}

    def put(self, key, name, value):
        """Replace a field of a hash; or the whole key, if the name is empty."""
        read = (lambda: self.redis.hget(key, name)) if name else (lambda: self.redis.get(key))
        self.before.setdefault((key, name), read())
        self._write(key, name, value)

    def _write(self, key, name, value):
        if value is None:
            self.redis.hdel(key, name)
        elif name:
            self.redis.hset(key, name, value)
        else:
            self.redis.set(key, value)

    def put_back(self):
        for (key, name), value in self.before.items():
            self._write(key, name, value)
        self.before.clear()

    def put_request(self, run_id):
        spec, targets = RunSpec(JobCreationRequest(targets=[FORGED])).packed()
        self.put(self.keys.run(run_id), "spec", spec)
        self.put(self.keys.run(run_id), "targets:0", targets[0])

    def move(self, kind, name, from_run, to_run):
        """Copy a value of one run to the same field of another run."""
        if kind == "run":
            source, target = self.keys.run(from_run), self.keys.run(to_run)
        else:
            source, target = (getattr(self.keys, kind)(PartId(one, 0)) for one in (from_run, to_run))
        self.put(target, name, self.redis.hget(source, name) if name else self.redis.get(source))


def bought_urls(sandbox):
    return {task["url"] for job in sandbox.jobs() for task in job["tasks"]}


def waits_for(pipeline, text):
    return lambda: text in pipeline.log.read_text()


def run_tool(pipeline, *arguments):
    command = [sys.executable, "-m", "scrape_do_celery", *arguments]
    return subprocess.run(
        command, env=pipeline.environment, cwd=pipeline.folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.long
@pytest.mark.parametrize("attack", ["plain request", "plain options", "targets of another run", "options as targets"])
def test_a_forged_request_is_not_bought(sealed, eventually, attack):
    run_id, other = sealed.enqueue([URL]).run_id, sealed.enqueue([FORGED]).run_id
    sealed.handle(other).cancel()
    forger, run_key = Forger(sealed), Keys("sealed").run(run_id)
    if attack == "plain request":
        forger.put_request(run_id)
    elif attack == "plain options":
        forger.put(run_key, "spec", RunSpec(JobCreationRequest(targets=[URL], set_cookies="a=forged")).packed()[0])
    elif attack == "targets of another run":
        forger.move("run", "targets:0", other, run_id)
    else:
        forger.put(run_key, "targets:0", sealed.redis.hget(run_key, "spec"))
    sealed.work()
    eventually(waits_for(sealed, f"run {run_id}"))
    status = eventually(lambda: found if (found := sealed.handle(run_id).status).waiting_for else None)
    assert (sealed.posts(), status.state) == (0, "queued")
    assert f"run {run_id}: the field " in status.waiting_for
    forger.put_back()
    result = sealed.handle(run_id).result(timeout=90)
    assert [task.url for task in result.tasks] == [URL]
    assert sealed.posts() == 1


def end_runs(pipeline, *runs):
    """Run each list of targets to its end. Return the ids of the runs."""
    handles = [pipeline.enqueue(targets, **options) for targets, options in runs]
    pipeline.work()
    for handle in handles:
        try:
            handle.result(timeout=90)
        except JobFailedError:
            continue
    return [handle.run_id for handle in handles]


def forged_page():
    return pack_task(TaskDetails(task_id="t", job_id="j", url=URL, status="success", content="forged"))


def test_a_forged_outcome_is_not_believed(sealed):
    first, second, failed = end_runs(
        sealed, ([URL], {}), ([FORGED, URL], {}), ([f"{URL}?sandbox=error"], {"raise_on_task_failure": True})
    )
    forger, keys = Forger(sealed), Keys("sealed")
    part, run_key = PartId(first, 0), keys.run(first)
    pages = keys.contents(part)
    handle = sealed.handle(first)
    attacks = {
        "contents 0": [
            lambda: forger.put(pages, "0", forged_page()),
            lambda: forger.move("contents", "0", second, first),
            lambda: forger.put(pages, "0", sealed.redis.hget(keys.contents(PartId(second, 0)), "1")),
        ],
        "job": [
            lambda: forger.put(keys.job(part), "", pack({"JobID": "forged", "Status": "success"})),
            lambda: forger.move("job", "", second, first),
            lambda: forger.put(keys.job(part), "", sealed.redis.hget(pages, "0")),
        ],
        "targets:0": [lambda: forger.put(run_key, "targets:0", pack([FORGED]))],
        "error": [
            lambda: forger.put(run_key, "error", json.dumps({"type": "JobLostError", "args": ["forged", first]})),
            lambda: forger.move("run", "error", failed, first),
        ],
    }
    assert JobDetails.model_validate({"JobID": "forged", "Status": "success"}).job_id == "forged"
    for field, ways in attacks.items():
        for attack in ways:
            attack()
            with pytest.raises(EncryptionKeyError) as caught:
                handle.result()
            assert (caught.value.run_id, caught.value.field) == (first, field)
            assert first in str(caught.value)
            rebuilt = type(caught.value)(*json.loads(json.dumps(caught.value.args)))
            assert (rebuilt.run_id, rebuilt.field) == (first, field)
            forger.put_back()
    assert [task.url for task in handle.result().tasks] == [URL]
    forger.put(pages, "0", forged_page())
    with pytest.raises(EncryptionKeyError):
        list(handle.iter_tasks())
    told = run_tool(sealed, "result", first)
    assert told.returncode == 1
    assert f"run {first}" in told.stdout + told.stderr
    assert "Traceback" not in told.stdout + told.stderr
    forger.put_back()
    assert sealed.posts() == 3


@pytest.mark.long
@pytest.mark.parametrize("attack", ["plain", "of another run"])
def test_a_forged_callback_is_not_called(sealed, eventually, attack):
    note = signature("user.note", queue="sealed")
    sealed.values["poll_max_interval"] = 0.5
    handle = sealed.enqueue([f"{URL}?seconds=3"], on_success=note)
    other = sealed.enqueue([URL], on_success=signature("user.alert", args=(1, 2), queue="sealed")).run_id
    forger, run_key = Forger(sealed), Keys("sealed").run(handle.run_id)
    name = f"waiter:{handle.run_id}"
    if attack == "plain":
        forged = {"task": "user.alert", "args": [None, "forged", None], "kwargs": {}, "options": {"queue": "sealed"}}
        forger.put(run_key, name, json.dumps({**forged, "subtask_type": None, "immutable": True}))
    else:
        forger.put(run_key, name, sealed.redis.hget(Keys("sealed").run(other), f"waiter:{other}"))
    sealed.work(app="app_with_tasks")
    handle.result(timeout=90)
    eventually(waits_for(sealed, f"run {handle.run_id} cannot be delivered here"))
    backend = sealed.app.backend.client
    notes, alerts = "sealed:notes", "sealed:alerts"
    assert sealed.app.AsyncResult(handle.run_id).state == "PENDING"
    assert (backend.llen(notes), sealed.redis.hget(run_key, "waiting")) == (0, b"1")
    if attack == "plain":
        assert backend.llen(alerts) == 0
    forger.put_back()
    assert sealed.app.AsyncResult(handle.run_id).get(timeout=120)["outcome"] == "succeeded"
    eventually(lambda: backend.lrange(notes, 0, -1) == [b"succeeded"])


@pytest.mark.long
def test_a_run_with_a_forged_request_can_be_freed(sealed, eventually):
    sealed.values["cancel_grace"] = 1
    handle = sealed.enqueue([f"{URL}?seconds=600"])
    sealed.work()
    eventually(lambda: handle.job)
    forger = Forger(sealed)
    forger.put_request(handle.run_id)
    forger.put(Keys("sealed").job(PartId(handle.run_id, 0)), "", pack({"JobID": "forged", "Status": "success"}))
    handle.cancel()

    def is_freed():
        try:
            RunHandle(handle.run_id, settings=sealed.settings).forget()
        except EncryptionKeyError:
            raise
        except Exception:  # noqa: BLE001 (the run has not ended, or its grace is not over)
            return False
        return True

    eventually(is_freed)
    eventually(lambda: not [key for key in sealed.stored_keys() if f":part:{handle.run_id}" in key])
    assert sealed.posts() == 1
