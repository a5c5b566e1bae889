"""Test the checks of `doctor` for the settings of webhooks, and for what the store knows of deliveries."""

from __future__ import annotations

import pytest

from scrape_do_celery.config import Settings
from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands.deliveries import TakeDelivery
from scrape_do_celery.store.commands.webhook_trust import DistrustWebhooks
from scrape_do_celery.webhook_checks import check_deliveries, check_webhook_settings

KEYS = "0123456789abcdef" * 2


def checked(**values):
    return [one.text for one in check_webhook_settings(Settings(**values))]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://localhost:8788", "this machine"),
        ("http://127.0.0.1/hooks", "this machine"),
        ("https://10.0.0.7/hooks", "a private address"),
        ("https://[fd00::1]/hooks", "a private address"),
        ("https://web/hooks", "a name of a private network"),
        ("https://web.shop.svc/hooks", "a name of a private network"),
        ("https://nas.local/hooks", "a name of a private network"),
    ],
)
def test_private_receiver_of_the_public_api_is_found(clean_environment, url, reason):
    (told,) = checked(webhook_base_url=url, webhook_keys=KEYS)
    assert f"because it is {reason}" in told
    # The API of a sandbox reaches it.
    assert checked(webhook_base_url=url, webhook_keys=KEYS, api_url="https://sandbox:8787") == []


def test_public_receiver_is_fine_if_its_deliveries_are_encrypted(clean_environment):
    assert checked() == checked(webhook_keys=KEYS) == []
    assert checked(webhook_base_url="https://shop.example/hooks", webhook_keys=KEYS) == []
    assert checked(webhook_base_url="https://8.8.8.8/hooks", webhook_keys=KEYS) == []
    (told,) = checked(webhook_base_url="http://shop.example/hooks", webhook_keys=KEYS)
    assert "not encrypted" in told


def test_base_url_without_keys_is_found(clean_environment):
    (told,) = checked(webhook_base_url="https://shop.example/hooks")
    assert "SCRAPE_DO_WEBHOOK_KEYS is not" in told


@pytest.fixture
def findings(step_harness):
    store = step_harness.app_context.store

    def check(**changes):
        return [one.text for one in check_deliveries(store, step_harness.settings.model_copy(update=changes))]

    return check


def test_deliveries_that_have_never_come_are_told_until_the_first(findings, step_harness):
    assert findings() == []
    (told,) = findings(webhooks=True)
    assert "no receiver has taken a delivery into this store yet" in told
    assert "doctor --webhook" in told
    step_harness.run(TakeDelivery(PartId("gone", 0), 1, None))
    assert findings(webhooks=True) == []


def test_jobs_that_ended_without_a_delivery_are_told(findings, step_harness):
    step_harness.create_run("r")
    step_harness.make_running("r", state="fetching")
    step_harness.redis.hset(step_harness.keys.part(PartId("r", 0)), "webhook", 1)
    step_harness.finish_part("r")
    # A probe of `doctor` proves the receiver, and not that Scrape.do reaches it.
    step_harness.run(TakeDelivery(PartId("probe", 0), 1, None))
    (told,) = findings()
    assert told.startswith("1 job(s) with webhooks have ended, and no delivery of any job has come")
    step_harness.run(TakeDelivery(PartId("r", 0), 1, None))
    assert findings() == []


def test_account_without_trust_is_told_with_the_command_that_restores_it(findings, step_harness):
    step_harness.redis.sadd(step_harness.keys.accounts, "good", "bad")
    step_harness.run(DistrustWebhooks("bad", "task t1 has another content"))
    (told,) = findings()
    assert "delivered pages of account bad are not believed since 20" in told
    assert "task t1 has another content" in told
    assert told.endswith("`scrape-do webhook-trust restore bad`")
