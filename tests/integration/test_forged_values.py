"""Test a writer to Redis against a store with an encryption key: plain and moved values are refused, and harm nothing.

A refused value stays where it is. When the right value is back, the run goes on.
"""

from __future__ import annotations

import base64
import json
import os

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
def encrypted(server, sandbox, tmp_path):
    """Provide a pipeline with an encryption key on a server of its own."""
    server.open_client().flushall()
    url = f"redis://127.0.0.1:{server.port}"
    urls = {"broker_url": f"{url}/1", "result_backend": f"{url}/2", "encryption_key": KEY}
    with Pipeline(f"{url}/0", sandbox, tmp_path, "encrypted", **urls) as one:
        one.redis = server.open_client()
        yield one


class Forger:
    """Somebody who can write to Redis and has no key. Each value that it replaces can be put back."""

    def __init__(self, pipeline):
        self.redis, self.keys, self.before = pipeline.redis, Keys("encrypted"), {}

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


@pytest.mark.long
@pytest.mark.parametrize("attack", ["plain request", "plain options", "targets of another run", "options as targets"])
def test_a_forged_request_is_not_bought(encrypted, eventually, attack):
    run_id, other = encrypted.enqueue([URL]).run_id, encrypted.enqueue([FORGED]).run_id
    encrypted.handle(other).cancel()
    forger, run_key = Forger(encrypted), Keys("encrypted").run(run_id)
    if attack == "plain request":
        forger.put_request(run_id)
    elif attack == "plain options":
        forger.put(run_key, "spec", RunSpec(JobCreationRequest(targets=[URL], set_cookies="a=forged")).packed()[0])
    elif attack == "targets of another run":
        forger.move("run", "targets:0", other, run_id)
    else:
        forger.put(run_key, "targets:0", encrypted.redis.hget(run_key, "spec"))
    encrypted.work()
    eventually(waits_for(encrypted, f"run {run_id}"))
    status = eventually(lambda: found if (found := encrypted.handle(run_id).status).waiting_for else None)
    assert (encrypted.posts(), status.state) == (0, "queued")
    assert f"run {run_id}: the field " in status.waiting_for.text
    forger.put_back()
    result = encrypted.handle(run_id).result(timeout=90)
    assert [task.url for task in result.tasks] == [URL]
    assert encrypted.posts() == 1


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


@pytest.mark.long
def test_a_forged_outcome_is_not_believed(encrypted):
    first, second, failed = end_runs(
        encrypted, ([URL], {}), ([FORGED, URL], {}), ([f"{URL}?sandbox=error"], {"raise_on_task_failure": True})
    )
    forger, keys = Forger(encrypted), Keys("encrypted")
    part, run_key = PartId(first, 0), keys.run(first)
    pages = keys.contents(part)
    handle = encrypted.handle(first)
    attacks = {
        "contents 0": [
            lambda: forger.put(pages, "0", forged_page()),
            lambda: forger.move("contents", "0", second, first),
            lambda: forger.put(pages, "0", encrypted.redis.hget(keys.contents(PartId(second, 0)), "1")),
        ],
        "job": [
            lambda: forger.put(keys.job(part), "", pack({"JobID": "forged", "Status": "success"})),
            lambda: forger.move("job", "", second, first),
            lambda: forger.put(keys.job(part), "", encrypted.redis.hget(pages, "0")),
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
    told = encrypted.run_tool("result", first)
    assert told.returncode == 1
    assert f"run {first}" in told.stdout + told.stderr
    assert "Traceback" not in told.stdout + told.stderr
    forger.put_back()
    assert encrypted.posts() == 3


@pytest.mark.long
@pytest.mark.parametrize("attack", ["plain", "of another run"])
def test_a_forged_callback_is_not_called(encrypted, eventually, attack):
    note = signature("user.note", queue="encrypted")
    handle = encrypted.enqueue([f"{URL}?seconds=3"], on_success=note)
    forger, run_key = Forger(encrypted), Keys("encrypted").run(handle.run_id)
    name = f"waiter:{handle.run_id}"
    if attack == "plain":
        forged = {"task": "user.alert", "args": [None, "forged", None], "kwargs": {}, "options": {"queue": "encrypted"}}
        forger.put(run_key, name, json.dumps({**forged, "subtask_type": None, "immutable": True}))
    else:
        alert = signature("user.alert", args=(1, 2), queue="encrypted")
        other = encrypted.enqueue([f"{URL}?seconds=600"], on_success=alert).run_id
        forger.put(run_key, name, encrypted.redis.hget(Keys("encrypted").run(other), f"waiter:{other}"))
    encrypted.work(app="app_with_tasks")
    handle.result(timeout=90)
    eventually(waits_for(encrypted, f"run {handle.run_id} cannot be delivered here"))
    backend = encrypted.app.backend.client
    assert encrypted.app.AsyncResult(handle.run_id).state == "PENDING"
    assert encrypted.redis.hget(run_key, "waiting") == b"1"
    assert (backend.llen("encrypted:notes"), backend.llen("encrypted:alerts")) == (0, 0)
    assert f"the field {name} " in handle.status.waiting_for.text
    forger.put_back()
    assert encrypted.app.AsyncResult(handle.run_id).get(timeout=120)["outcome"] == "succeeded"
    eventually(lambda: backend.lrange("encrypted:notes", 0, -1) == [b"succeeded"])


@pytest.mark.long
def test_a_run_with_a_forged_request_can_be_freed(encrypted, eventually):
    encrypted.values["cancel_grace"] = 1
    handle = encrypted.enqueue([f"{URL}?seconds=600"])
    encrypted.work()
    eventually(lambda: handle.job)
    forger = Forger(encrypted)
    forger.put_request(handle.run_id)
    forger.put(Keys("encrypted").job(PartId(handle.run_id, 0)), "", pack({"JobID": "forged", "Status": "success"}))
    handle.cancel()

    def is_freed():
        try:
            RunHandle(handle.run_id, settings=encrypted.settings).forget()
        except EncryptionKeyError:
            raise
        except Exception:  # noqa: BLE001 (the run has not ended, or its grace is not over)
            return False
        return True

    eventually(is_freed)
    eventually(lambda: not [key for key in encrypted.stored_keys() if f":part:{handle.run_id}" in key])
    assert encrypted.posts() == 1


@pytest.mark.long
def test_encryption_is_turned_on_while_runs_go_on(encrypted, eventually):
    del encrypted.values["encryption_key"]
    plain_worker = encrypted.work(app="app_with_tasks")
    note = signature("user.note", queue="encrypted")
    ended, going_on = encrypted.enqueue([URL]), encrypted.enqueue([f"{URL}?seconds=10"], on_success=note)
    ended.result(timeout=90)
    eventually(lambda: going_on.job)

    # The web processes come first: they read plain and encrypted values, and their runs wait for the first worker.
    encrypted.values |= {"encryption_key": KEY, "allow_plain": True}
    assert len(encrypted.handle(ended.run_id).result().tasks) == 1
    new = encrypted.enqueue([f"{URL}?new"], on_success=note)
    named = encrypted.steps["scrape_do.scrape"].apply_async(kwargs={"targets": [f"{URL}?named"]}, link=note)
    eventually(waits_for(encrypted, "runs wait for a worker with another encryption key"))
    assert (new.state, encrypted.posts()) == ("queued", 2)
    assert "are live, so keep SCRAPE_DO_ALLOW_PLAIN" in encrypted.run_tool("doctor").stdout

    # Then the workers. Both kinds run for a moment.
    encrypted.work(app="app_with_tasks")
    # Each step that the first worker takes makes the run wait for 30 s.
    assert len(new.result(timeout=300).tasks) == 1
    plain_worker.terminate()
    plain_worker.wait(30)
    assert len(encrypted.handle(going_on.run_id).result(timeout=90).tasks) == 1
    for run_id in (ended.run_id, going_on.run_id, new.run_id, named.id):
        assert encrypted.app.AsyncResult(run_id).get(timeout=90)["outcome"] == "succeeded"
    notes = encrypted.app.backend.client
    eventually(lambda: notes.llen("encrypted:notes") == 3)
    assert encrypted.posts() == 4
    assert "SCRAPE_DO_ALLOW_PLAIN is set" in encrypted.log.read_text()

    # The flag goes when no plain run is left.
    told = encrypted.run_tool("doctor").stdout
    assert "run(s) have plain values" in told
    assert "all have ended, and the last one is deleted within" in told
    for handle in (ended, going_on):
        eventually(lambda handle=handle: encrypted.redis.hget(Keys("encrypted").run(handle.run_id), "waiting") == b"0")
        encrypted.handle(handle.run_id).forget()
    assert "no run has plain values any more: remove SCRAPE_DO_ALLOW_PLAIN" in encrypted.run_tool("doctor").stdout
    encrypted.workers[-1].terminate()
    encrypted.workers[-1].wait(30)
    del encrypted.values["allow_plain"]
    encrypted.work(app="app_with_tasks")
    assert len(encrypted.enqueue([f"{URL}?last"]).result(timeout=90).tasks) == 1
    assert "plain values" not in encrypted.run_tool("doctor").stdout
    assert "is not encrypted although" not in encrypted.log.read_text()


@pytest.mark.long
def test_a_forgotten_flag_costs_time_and_nothing_else(encrypted, eventually):
    del encrypted.values["encryption_key"]
    run_id = encrypted.enqueue([URL], on_success=signature("user.note", queue="encrypted")).run_id
    encrypted.values["encryption_key"] = KEY
    strict = encrypted.work(app="app_with_tasks")
    eventually(waits_for(encrypted, f"run {run_id}: the field spec is not encrypted"))
    assert encrypted.posts() == 0
    assert f"1 run(s) have plain values, such as run {run_id}" in encrypted.run_tool("doctor").stdout
    strict.terminate()
    strict.wait(30)
    encrypted.values["allow_plain"] = True
    encrypted.work(app="app_with_tasks")
    assert encrypted.app.AsyncResult(run_id).get(timeout=120)["outcome"] == "succeeded"
    eventually(lambda: encrypted.app.backend.client.lrange("encrypted:notes", 0, -1) == [b"succeeded"])
    assert encrypted.posts() == 1
