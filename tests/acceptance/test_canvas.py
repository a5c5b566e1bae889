"""Test runs inside Celery's canvas: chains, groups, chords and links go on around them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError

from scrape_do_celery import InvalidRequestError, JobFailedError

GOOD, BAD = "https://a.example/good", "https://a.example/?sandbox=error"


@pytest.fixture
def user(pipeline):
    """Start the user's worker, and return the pipeline."""
    pipeline.work(app="app_with_tasks")
    return pipeline


def step(pipeline, name, *args, **kwargs):
    tasks = pipeline.steps
    if name in tasks:
        return tasks[name].s(*args, **kwargs)
    return pipeline.app.signature(name, args=args, kwargs=kwargs, queue=pipeline.prefix)


def scrape(pipeline, *args, **kwargs):
    return step(pipeline, "scrape_do.scrape", *args, **kwargs)


def test_a_chain_goes_on_with_the_small_result(user):
    result = chain(scrape(user, targets=[GOOD]), step(user, "user.pages"), app=user.app).apply_async()
    assert result.get(timeout=150) == [GOOD]


def test_the_value_of_the_step_before_is_the_targets(user):
    result = chain(step(user, "user.targets"), scrape(user, geo_code="us"), step(user, "user.pages"), app=user.app)()
    assert result.get(timeout=150) == ["https://a.example/chained"]
    assert user.posts() == 1


def test_a_chain_stops_at_a_failed_run(user):
    result = chain(scrape(user, targets=[BAD]), step(user, "user.pages"), app=user.app).apply_async()
    with pytest.raises(JobFailedError):
        result.parent.get(timeout=150)
    with pytest.raises(JobFailedError):
        result.get(timeout=150)


def test_a_wrong_request_inside_a_chain_fails_with_its_type(user):
    result = chain(step(user, "user.targets"), scrape(user, geo_code="nowhere"), app=user.app).apply_async()
    with pytest.raises(InvalidRequestError, match="geo_code"):
        result.get(timeout=150)
    assert user.posts() == 0


def test_a_group(user):
    result = group((scrape(user, targets=[f"{GOOD}/{n}"]) for n in range(3)), app=user.app).apply_async()
    assert [one["counts"]["succeeded"] for one in result.get(timeout=150)] == [1, 1, 1]
    assert user.posts() == 3


def test_a_chord(user):
    header = [scrape(user, targets=[f"{GOOD}/{n}"]) for n in range(3)]
    assert chord(header, step(user, "user.collect"), app=user.app)().get(timeout=150) == 3


def test_a_chord_with_a_failing_run(user):
    header = [scrape(user, targets=[GOOD]), scrape(user, targets=[BAD])]
    result = chord(header, step(user, "user.collect"), app=user.app)()
    with pytest.raises((ChordError, JobFailedError)):
        result.get(timeout=150)


def test_links_are_called_with_the_outcome(user, eventually):
    backend = user.app.backend.client
    options = {"link": step(user, "user.note"), "link_error": step(user, "user.alert")}
    good = scrape(user, targets=[GOOD]).apply_async(**options)
    bad = scrape(user, targets=[BAD]).apply_async(**options)
    assert good.get(timeout=150)["outcome"] == "succeeded"
    with pytest.raises(JobFailedError):
        bad.get(timeout=150)
    eventually(lambda: backend.lrange(f"{user.prefix}:notes", 0, -1) == [b"succeeded"])
    eventually(lambda: backend.lrange(f"{user.prefix}:alerts", 0, -1) == [b"JobFailedError"])


def test_a_wrong_request_raises_in_the_caller_and_writes_nothing(pipeline):
    with pytest.raises(ValueError, match="targets"):
        pipeline.scrape(targets=[])
    assert pipeline.stored_keys() == []


def test_a_producer_without_this_package(user):
    """Send by name, with nothing but Celery installed."""
    script = """
import json, sys
from celery import Celery
broker, backend, queue, targets = sys.argv[1:]
app = Celery(broker=broker, backend=backend)
result = app.send_task("scrape_do.scrape", kwargs={"targets": json.loads(targets), "geo_code": "us"}, queue=queue)
print(json.dumps([result.id, result.get(timeout=150)["counts"]["succeeded"]]))
assert "scrape_do_celery" not in sys.modules
"""
    settings = user.settings
    arguments = [settings.broker_url, settings.result_backend, settings.queue, json.dumps([GOOD, GOOD])]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=90, check=True
    )
    run_id, succeeded = json.loads(done.stdout)
    assert succeeded == 2
    assert len(user.handle(run_id).result(timeout=10).tasks) == 2


def test_a_wrong_request_by_name_fails_with_its_type(user):
    result = user.app.send_task("scrape_do.scrape", kwargs={"targets": ["ftp://x"]}, queue=user.prefix)
    with pytest.raises(InvalidRequestError, match=r"targets\[0\]"):
        result.get(timeout=150)


def test_two_scrapes_with_one_key_share_a_job(user):
    first = user.scrape(targets=[GOOD], idempotency_key="k")
    second = user.scrape(targets=[GOOD], idempotency_key="k")
    assert first.id != second.id
    assert first.get(timeout=150) == second.get(timeout=40)
    third = user.scrape(targets=[GOOD], idempotency_key="k")
    assert third.get(timeout=150)["run_id"] == first.id
    assert user.posts() == 1


def test_a_scrape_that_is_not_yet_due_waits(user, eventually):
    result = user.steps["scrape_do.scrape"].apply_async(kwargs={"targets": [GOOD]}, countdown=2)
    assert user.handle(result.id).state == "queued"
    assert result.get(timeout=150)["outcome"] == "succeeded"


def test_process_that_only_scrapes_uses_the_settings(pipeline):
    """Run steps in a process without an app or an earlier `enqueue`: they find the broker of the environment."""
    pipeline.work()
    script = """
import json
from celery import chain
from scrape_do_celery.tasks import scrape
one = scrape.delay(targets=["https://a.example/"])
two = chain(scrape.s(targets=["https://b.example/"]), scrape.si(targets=["https://c.example/"])).apply_async()
print(json.dumps([one.get(timeout=150)["outcome"], two.get(timeout=60)["outcome"]]))
"""
    done = pipeline.run_code(script, patience=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["succeeded", "succeeded"]
    assert pipeline.posts() == 3
