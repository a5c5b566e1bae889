"""Test that each purchase is sent with a webhook of its own, and that nobody but the API gets token and secret."""

from __future__ import annotations

import json
import logging
from urllib.parse import urlsplit

import pytest
from log_records import own_records

from scrape_do_celery.client import endpoints
from scrape_do_celery.errors import APIConnectionError, AsyncAPIBadRequestError
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.reconciliation import carries, marker_of
from scrape_do_celery.rules.webhook_tokens import HEADER, PurchaseId, is_secret, make_secret, make_url, read_purchase
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartId, PartState, RunSpec
from scrape_do_celery.store.codec import unpack_bytes
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.creation import CreateRun
from tests.unit.conftest import urls as make_urls
from tests.unit.steps.conftest import LEASE, job_listing, reconcile_until, show_jobs

BASE = "https://shop.example/hooks"
KEYS = (b"0123456789abcdef" * 2, b"fedcba9876543210" * 2)
FIRST = PurchaseId("r", 0, 1)


@pytest.fixture
def hooked(step_harness, settings):
    """Return the harness of a worker that has the settings of webhooks."""
    checked = type(settings)(webhook_base_url=BASE, webhook_keys=[key.decode() for key in KEYS])
    kept = {name: getattr(checked, name) for name in ("webhook_base_url", "webhook_keys")}
    step_harness.settings = settings.model_copy(update=kept)
    return step_harness


def submit(harness, part=0, **options):
    return harness.run_step(submit_part, harness.claim_part(part=part, seconds=LEASE, **options))


def sent(harness):
    """Return the webhooks of all requests: their URL and their headers."""
    return [(one.webhook_url, one.webhook_headers) for (one,) in harness.api.called("create_job")]


def proves(webhook):
    """Return the purchase that URL and header of a request prove."""
    url, headers = webhook
    purchase = read_purchase(urlsplit(url).path, KEYS)
    assert purchase is not None
    assert list(headers) == [HEADER]
    assert is_secret(headers[HEADER], KEYS[:1], purchase)
    return purchase


def stored_texts(harness):
    """Return all values of the store as text, unpacked."""
    hashes = [harness.redis.hgetall(key) for key in harness.redis.scan_iter() if harness.redis.type(key) == b"hash"]
    values = [raw for one in hashes for raw in one.values()]
    dumps = [harness.redis.dump(key) for key in harness.redis.scan_iter()]
    return b"\n".join([*values, *map(unpack_bytes, values), *dumps]).decode(errors="replace")


def test_purchase_is_sent_with_its_webhook(hooked, make):
    hooked.create_run(webhook=True)
    hooked.api.script(create_job=make.created("j"))
    submit(hooked)
    assert sent(hooked) == [(make_url(BASE, KEYS[0], FIRST), {HEADER: make_secret(KEYS[0], FIRST)})]
    assert [proves(one) for one in sent(hooked)] == [FIRST]
    assert hooked.part().purchases == FIRST.number


def test_run_without_webhooks_is_sent_without(hooked, make):
    hooked.create_run()
    hooked.create_run("own", request={"webhook_url": f"{BASE}/mine", "webhook_headers": {"X-Key": "mine"}})
    hooked.api.script(create_job=[make.created("j"), make.created("k")])
    submit(hooked)
    hooked.run_step(submit_part, hooked.claim_part("own", seconds=LEASE))
    assert sent(hooked) == [(None, None), (f"{BASE}/mine", {"X-Key": "mine"})]


def test_each_part_has_a_webhook_of_its_own(hooked, make):
    hooked.create_multi_part_run(2, webhook=True)
    hooked.api.script(create_job=[make.created("j", 1000), make.created("k", 1)])
    submit(hooked, part=1)
    submit(hooked, part=0)
    assert [proves(one) for one in sent(hooked)] == [PurchaseId("r", 1, 1), PurchaseId("r", 0, 1)]


def test_second_purchase_of_a_part_has_another_webhook(hooked, make):
    hooked.create_run(webhook=True)
    hooked.api.script(create_job=[APIConnectionError("cut", "POST", "/jobs", "ReadTimeout"), make.created("j")])
    submit(hooked)
    hooked.api.script(list_jobs=lambda _: job_listing())
    assert reconcile_until(hooked)
    hooked.clock.forward(max(0.0, hooked.due_times()["r:0"]) + 0.1)
    submit(hooked)
    assert [proves(one) for one in sent(hooked)] == [FIRST, FIRST._replace(number=2)]
    assert hooked.part().purchases == 2


def test_post_that_bought_nothing_is_repeated_with_its_webhook(hooked, make):
    hooked.create_run(webhook=True)
    hooked.api.script(create_job=[APIConnectionError("no", "POST", "/jobs", "ConnectError"), make.created("j")])
    submit(hooked)
    hooked.clock.forward(2)
    submit(hooked)
    assert [proves(one) for one in sent(hooked)] == [FIRST, FIRST]
    assert hooked.part().purchases == 1


def test_token_and_secret_are_nowhere_but_in_the_request(hooked, make, caplog):
    caplog.set_level(logging.DEBUG)
    hooked.create_run(webhook=True)
    url, secret = make_url(BASE, KEYS[0], FIRST), make_secret(KEYS[0], FIRST)
    hooked.api.script(create_job=make.created("j"))
    claim = hooked.claim_part(seconds=LEASE)
    assert secret not in repr(claim)
    hooked.run_step(submit_part, claim)
    told = f"no answer from {url}"
    hooked.store_content(status="error", content=None, error_message=told, webhook_url=f"{url}?scrape_do_intent=1")
    (task,) = hooked.run(ReadContents(PartId("r", 0), [0]))
    assert task.webhook_url == f"{url[:-64]}***?scrape_do_intent=1"
    assert task.error_message == f"no answer from {url[:-64]}***"
    seen = stored_texts(hooked) + caplog.text + repr(hooked.sent) + str([vars(one) for one in caplog.records])
    assert "r" in seen
    for private in (url[-64:], secret, *(key.decode() for key in KEYS)):
        assert private not in seen


def test_refusal_that_quotes_the_request_shows_no_secret(hooked, caplog):
    caplog.set_level(logging.DEBUG)
    hooked.create_run(webhook=True)
    url, secret = make_url(BASE, KEYS[0], FIRST), make_secret(KEYS[0], FIRST)
    quoted = json.dumps({"WebhookURL": url, "Path": url.removeprefix(BASE), "WebhookHeaders": {HEADER: secret}})
    hooked.api.script(create_job=AsyncAPIBadRequestError(f"400 {quoted}", 400, quoted, None, None, quoted))
    submit(hooked)
    error = hooked.part().error
    assert isinstance(error, AsyncAPIBadRequestError)
    for text in (str(error), json.dumps(error.to_json()), caplog.text):
        assert url[-64:] not in text
        assert secret not in text


def test_marker_of_a_shared_account_is_in_the_webhook(hooked, make):
    hooked.settings = hooked.settings.model_copy(update={"shared_account": True})
    hooked.create_run(webhook=True)
    hooked.api.script(create_job=make.created("j"))
    submit(hooked)
    ((url, headers),) = sent(hooked)
    assert carries(url, marker_of("p", "r:0"))
    assert proves((url, headers)) == FIRST
    assert hooked.part_fields()["marker"] == marker_of("p", "r:0")


def test_job_in_doubt_is_found_by_the_marker_in_its_webhook(hooked, make):
    hooked.settings = hooked.settings.model_copy(update={"shared_account": True})
    hooked.create_run(webhook=True)
    hooked.api.script(create_job=APIConnectionError("cut", "POST", "/jobs", "ReadTimeout"))
    submit(hooked)
    ((url, _),) = sent(hooked)
    ours, theirs = make.job(job_id="ours"), make.job(job_id="theirs")
    hooks = {"ours": url, "theirs": "https://other.example/"}
    show_jobs(hooked, ours, theirs)
    hooked.api.script(get_task=lambda job_id, _: make.task(job=job_id, webhook_url=hooks[job_id]))
    hooked.run_step(reconcile_part, hooked.claim_part())
    assert (hooked.part().state, hooked.part().job_id) == (PartState.RUNNING, "ours")


def buy_in_doubt(harness, **request):
    """Lose the answer to a purchase, and return the URL of its webhook."""
    request = request or {"targets": make_urls(2)}
    harness.run(CreateRun("r", RunSpec(JobCreationRequest(**request), webhook=True)))
    harness.api.script(create_job=APIConnectionError("cut", "POST", "/jobs", "ReadTimeout"))
    submit(harness)
    return sent(harness)[-1][0]


def show_two_jobs(harness, make, hooks):
    """Let two equal jobs without a run appear. `hooks` has the webhooks that their tasks show."""
    show_jobs(harness, make.job(job_id="a"), make.job(job_id="b"))
    harness.api.script(get_task=lambda job_id, _: make.task(job=job_id, webhook_url=hooks[job_id]))


@pytest.mark.parametrize("key", KEYS)
def test_job_in_doubt_is_adopted_by_the_token_in_its_webhook(hooked, make, key):
    """Without the token, two equal jobs and one purchase are a case of doubt."""
    buy_in_doubt(hooked)
    shown = make_url("https://proxy.example/elsewhere", key, FIRST)
    show_two_jobs(hooked, make, {"a": "https://other.example/", "b": f"{shown}/?x=1"})
    hooked.run_step(reconcile_part, hooked.claim_part())
    assert (hooked.part().state, hooked.part().job_id, hooked.api.posts) == (PartState.RUNNING, "b", 1)


def test_plugin_is_adopted_by_the_token_in_its_webhook(hooked, make):
    params = [{"q": "a"}, {"q": "b"}]
    url = buy_in_doubt(hooked, plugin={"key": "google/search", "params": params})
    show_two_jobs(hooked, make, {"a": None, "b": url})
    hooked.run_step(reconcile_part, hooked.claim_part())
    assert hooked.part().job_id == "b"


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "***",
        "http://[",
        BASE,
        make_url(BASE, KEYS[0], FIRST._replace(number=2)),
        make_url(BASE, KEYS[0], FIRST._replace(part=1)),
        make_url(BASE, KEYS[0], FIRST._replace(run_id="s")),
        make_url(BASE, b"x" * 32, FIRST),
    ],
)
def test_other_webhooks_prove_nothing(hooked, make, shown):
    buy_in_doubt(hooked)
    show_two_jobs(hooked, make, {"a": "https://other.example/", "b": shown})
    hooked.run_step(reconcile_part, hooked.claim_part())
    assert hooked.part().state is PartState.RECONCILING
    hooked.api.script(list_jobs=lambda _: job_listing(make.job(job_id="b")))
    hooked.clock.forward(max(0.0, hooked.due_times()["r:0"]) + 0.1)
    hooked.run_step(reconcile_part, hooked.claim_part())
    assert hooked.part().job_id == "b", "one equal job is adopted as before"


def test_task_that_cannot_be_read_proves_nothing(hooked, make):
    buy_in_doubt(hooked)
    show_jobs(hooked, make.job(job_id="b"))
    hooked.api.script(get_task=make.refusal(404))
    hooked.run_step(reconcile_part, hooked.claim_part())
    assert hooked.part().job_id == "b"


@pytest.mark.parametrize("lacking", ["webhook_base_url", "webhook_keys"])
def test_worker_without_the_settings_buys_without_and_says_so_once(hooked, make, caplog, lacking):
    hooked.settings = hooked.settings.model_copy(update={lacking: None})
    hooked.create_multi_part_run(2, webhook=True)
    hooked.api.script(create_job=[make.created("j", 1), make.created("k", 1000)])
    submit(hooked, part=1)
    submit(hooked, part=0)
    assert sent(hooked) == [(None, None)] * 2
    (record,) = [one for one in own_records(caplog) if one.event == "no_webhook"]
    assert f"this worker lacks SCRAPE_DO_{lacking.upper()}" in record.getMessage()


def test_request_of_a_webhook_can_be_sent(hooked, make):
    """The body of the `POST` is what a receiver has to recognize."""
    hooked.create_run("a run: ü/?#", webhook=True)
    hooked.api.script(create_job=make.created("j"))
    hooked.run_step(submit_part, hooked.claim_part("a run: ü/?#", seconds=LEASE))
    ((request,),) = hooked.api.called("create_job")
    body = json.loads(endpoints.create_job(request).body)
    assert proves((body["WebhookURL"], body["WebhookHeaders"])) == PurchaseId("a run: ü/?#", 0, 1)
