"""Call the views of webhooks with Django's test clients, over an in-memory store. Print what happened as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import fakeredis
from webhook_receivers import BASE_URL, HOST, KEY, BoughtPart

values = {
    "redis_url": "redis://localhost:1/0",
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
    "webhook_base_url": BASE_URL,
    "webhook_keys": KEY.decode(),
    "webhook_trust": "content",
    "key_prefix": "p",
}
os.environ.update({f"SCRAPE_DO_{name.upper()}": value for name, value in values.items()})

import app_webhooks_django  # noqa: E402, F401
from django.test import AsyncClient, Client  # noqa: E402
from django.test.utils import override_settings  # noqa: E402

from scrape_do_celery.contrib.django.webhook_checks import check_webhooks  # noqa: E402
from scrape_do_celery.store import Keys, Store  # noqa: E402
from scrape_do_celery.webhooks.core import BUSY  # noqa: E402

server = fakeredis.FakeServer()
redis = fakeredis.FakeRedis(server=server)
store = Store(redis, Keys("p"))
Store.open = lambda *_, **__: store
FORGED = f"/hooks/{'0' * 8}-0000-4000-8000-{'0' * 12}-0-1-{'0' * 64}"


def call_sync(path, body=b"", method="POST", **headers):
    return Client(enforce_csrf_checks=True).generic(method, path, body, "application/json", headers=proxied(headers))


def call_sync_on_asgi(path, body=b"", method="POST", **headers):
    client = AsyncClient(enforce_csrf_checks=True)
    return asyncio.run(client.generic(method, path, body, "application/json", headers=proxied(headers)))


def call_async(path, body=b"", method="POST", **headers):
    return call_sync_on_asgi(path.replace("/hooks/", "/ahooks/"), body, method, **headers)


def proxied(headers):
    """Return the headers of a call as a proxy with TLS forwards them."""
    return {"x-forwarded-proto": "https", **headers}


def visit(call, name):
    """Return the status of each call, and the pages and hints that they made."""
    part = BoughtPart(store, name, tasks=4)
    secret = {one.replace("_", "-"): value for one, value in part.secret.items()}
    found = {
        "page": call(part.path, part.body(), **secret).status_code,
        "slash": call(f"{part.path}/", part.body(1), **secret).status_code,
        "large": call(part.path, part.body(2, content="x" * 3_000_000), **secret).status_code,
        "hint": call(part.path, part.body(3)).status_code,
        "forged": [call(FORGED, method=method).status_code for method in ("POST", "GET", "HEAD")],
        "nowhere": call("/hooks/").status_code,
        "method": (answer := call(part.path, method="PUT")).status_code,
        "allow": answer["Allow"],
        "other host": call(part.path, part.body(), host="other.example").status_code,
        "not secure": call(part.path, part.body(), **{"x-forwarded-proto": "http"}).status_code,
        "private": call("/private/", method="GET").status_code,
        "stored": sorted(part.stored),
        "hints": part.entries.get("3"),
    }
    server.connected = False
    found["down"] = [call(part.path, part.body()).status_code, call(FORGED).status_code]
    server.connected = True
    # After a failure, the next deliveries are put off at once for a moment.
    while call(part.path, part.body(3)).status_code == BUSY.status:
        time.sleep(0.05)
    return found


def check(**changed):
    with override_settings(**changed):
        return [one.id for one in check_webhooks()]


# The test clients call this host.
with override_settings(ALLOWED_HOSTS=["testserver"]):
    seen = {one.__name__: visit(one, f"run-of-{one.__name__}") for one in (call_sync, call_async, call_sync_on_asgi)}
insecure = {"SCRAPE_DO": {"WEBHOOK_BASE_URL": f"http://{HOST}/hooks", "WEBHOOK_TRUST": "hint"}}
seen["checks"] = {
    "right": check(),
    "no host": check(ALLOWED_HOSTS=["other.example"]),
    "development": check(ALLOWED_HOSTS=[], DEBUG=True),
    "http": check(**insecure),
    "exempt": check(**insecure, SECURE_REDIRECT_EXEMPT=["^hooks/"]),
    "received elsewhere": check(SCRAPE_DO={"WEBHOOK_BASE_URL": "https://other.example/elsewhere"}),
    "no keys": check(SCRAPE_DO={"WEBHOOK_KEYS": None, "WEBHOOK_TRUST": "hint"}),
    "wrong settings": check(SCRAPE_DO={"WEBHOOK_BASE_URL": "no URL"}),
    "no webhooks": check(SCRAPE_DO={"WEBHOOK_BASE_URL": None, "WEBHOOK_TRUST": "hint"}),
}
sys.stdout.write(json.dumps(seen))
