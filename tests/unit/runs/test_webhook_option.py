"""Test the run option `webhook`: what turns webhooks on, what is refused, and what the record of a run keeps."""

from __future__ import annotations

import pytest

from scrape_do_celery import enqueue, enqueue_many, estimate, retry_failed
from scrape_do_celery.config import Settings
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.redaction import request_summary
from scrape_do_celery.runs.drafts import create_draft
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.commands.creation import ScheduleTick
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome

URLS = ["https://shop.example/1"]
KEY = "0123456789abcdef" * 2
SET = {"webhook_base_url": "https://shop.example/hooks", "webhook_keys": KEY}
OWN = {"webhook_url": "https://other.example/mine"}


@pytest.fixture(autouse=True)
def _own_app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)


@pytest.fixture
def use(step_harness):
    """Return a function that gives the app settings of webhooks."""

    def give(**changes):
        plain = Settings(**{name: getattr(step_harness.settings, name) for name in ("redis_url", "key_prefix")})
        checked = Settings(**plain.model_dump(exclude_unset=True), **changes)
        step_harness.app_context.settings = step_harness.settings.model_copy(
            update={name: getattr(checked, name) for name in changes}
        )
        return step_harness

    return give


def test_option_turns_webhooks_on_for_its_run(use):
    harness = use(**SET)
    assert harness.read_run(enqueue(URLS, webhook=True).run_id).has_webhooks
    assert not harness.read_run(enqueue(URLS, webhook=False).run_id).has_webhooks
    assert not harness.read_run(enqueue(URLS).run_id).has_webhooks
    ids = [one.run_id for one in enqueue_many([URLS, URLS], webhook=True)]
    assert [harness.read_run(one).has_webhooks for one in ids] == [True, True]


def test_setting_turns_webhooks_on_for_runs_without_the_option(use):
    harness = use(webhooks=True, **SET)
    draft = create_draft(harness.app_context, "draft", {}, (URLS,), {})
    scheduled = start_scheduled_run(harness.app_context, ScheduleTick("s", "1", "skip"), {"targets": URLS})
    for run_id in (enqueue(URLS).run_id, draft, scheduled):
        assert harness.read_run(run_id).has_webhooks
    for options in ({"webhook": False}, OWN, {"webhook_headers": {"X-Key": "mine"}}):
        assert not harness.read_run(enqueue(URLS, **options).run_id).has_webhooks


def test_run_without_webhooks_does_not_grow(use):
    harness = use(**SET)
    ids = [enqueue(URLS, webhook=on).run_id for on in (True, False)]
    fields = [harness.run_fields(run_id) for run_id in ids]
    names = [{name.replace(run_id, "<id>") for name in one} for one, run_id in zip(fields, ids, strict=True)]
    assert names[0] - names[1] == {"webhook"}
    assert (fields[0]["webhook"], fields[0]["spec"], fields[0]["digest"]) == (
        "1",
        fields[1]["spec"],
        fields[1]["digest"],
    )
    assert KEY not in str(fields)


@pytest.mark.parametrize("own", [OWN, {"webhook_headers": {"X-Key": "mine"}}], ids=lambda own: next(iter(own)))
def test_option_beside_a_webhook_of_the_caller_is_refused(use, own):
    harness = use(**SET)
    for options in ({"webhook": True, **own}, {"webhook": True, "dry_run": True, **own}):
        with pytest.raises(ValueError, match="webhook=True sets webhook_url and webhook_headers itself"):
            enqueue(URLS, **options)
    with pytest.raises(ValueError, match="webhook=True sets"):
        enqueue(JobCreationRequest(targets=URLS, **own), webhook=True)
    assert harness.run_ids() == set()
    assert not harness.read_run(enqueue(URLS, webhook=False, **own).run_id).has_webhooks


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "SCRAPE_DO_WEBHOOK_BASE_URL and SCRAPE_DO_WEBHOOK_KEYS"),
        ({"webhook_keys": KEY}, "SCRAPE_DO_WEBHOOK_BASE_URL"),
        ({"webhook_base_url": SET["webhook_base_url"]}, "SCRAPE_DO_WEBHOOK_KEYS"),
    ],
)
def test_option_without_url_or_keys_is_refused_where_it_enters(use, given, missing):
    harness = use(**given)
    calls = [
        lambda: enqueue(URLS, webhook=True),
        lambda: enqueue(URLS, webhook=True, dry_run=True),
        lambda: estimate(URLS, webhook=True),
        lambda: enqueue_many([URLS], webhook=True),
        lambda: create_draft(harness.app_context, "draft", {}, (URLS,), {"webhook": True}),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"webhook=True needs {missing}; set both where runs are started"):
            call()
    assert harness.run_ids() == set()


@pytest.mark.parametrize("value", ["yes", 2, "https://shop.example/"])
def test_option_takes_flags_only(value):
    with pytest.raises(ValueError, match="webhook must be True or False"):
        enqueue(URLS, webhook=value)


def test_option_does_not_change_the_request(use):
    harness = use(**SET)
    handle = enqueue(URLS, webhook=True, idempotency_key="k")
    for options in ({}, {"webhook": False}, {"webhook": True}):
        assert enqueue(URLS, idempotency_key="k", **options).run_id == handle.run_id
    assert harness.read_run(handle.run_id).has_webhooks
    one, other = RunSpec.from_arguments(URLS, webhook=True), RunSpec.from_arguments(URLS, early=True)
    assert one == RunSpec.from_arguments(URLS)
    assert one.differing_fields(other) == ("early",)


@pytest.mark.parametrize("setting", [True, False])
def test_child_has_the_webhooks_of_its_parent_whatever_the_setting_is(use, setting):
    harness = use(webhooks=setting, **SET)
    for webhook in (True, False):
        parent = enqueue(URLS, webhook=webhook).run_id
        assert harness.run(ReadSpec(parent, 1)).webhook is webhook
        harness.finish_part(parent, outcome="failed")
        harness.run(RecordOutcome(parent, "failed", {}))
        child = retry_failed(parent).run_id
        assert harness.read_run(child).has_webhooks is webhook
        assert harness.read_run(child).parent == parent


def test_summary_of_a_run_says_nothing_of_webhooks():
    assert request_summary({"targets": URLS, "webhook": True}) == request_summary({"targets": URLS})
