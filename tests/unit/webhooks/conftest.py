"""Provide an app context that receives webhooks over the in-memory store, and parts that deliveries belong to."""

from __future__ import annotations

import pytest
from webhook_receivers import BASE_URL, KEY, LIMIT, BoughtPart

from scrape_do_celery.runs import hooks as hooks_module
from scrape_do_celery.webhooks import service as service_module


@pytest.fixture
def settings(settings):
    values = {
        "webhook_base_url": BASE_URL,
        "webhook_keys": KEY.decode(),
        "webhook_trust": "content",
        "webhook_max_bytes": LIMIT,
        "store_timeout": 0.5,
    }
    return type(settings)(**settings.model_dump(exclude_unset=True), **values)


@pytest.fixture
def harness(step_harness, monkeypatch):
    """Return the harness, whose app is that of the process. Each error is logged; each delivery tries the store."""
    for name in ("_put_off_pause", "_refused_pause", "_found_pause"):
        monkeypatch.setattr(service_module, name, service_module.LogPause(-1.0))
    monkeypatch.setattr(service_module, "_AWAY_FOR", -1.0)
    monkeypatch.setattr(hooks_module, "_hooks", hooks_module.FrameworkHooks(settings=lambda: step_harness.settings))
    step_harness.app.set_default()
    step_harness.app.__dict__.pop("scrape_do_own_app")
    yield step_harness
    step_harness.server.connected = True


@pytest.fixture
def part(harness):
    return BoughtPart(harness.sync_store, "0f0e0d0c-1111-4222-8333-444455556666")
