"""Check the settings of webhooks, the trust in delivered pages, and whether deliveries have ever come."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from scrape_do_celery.config.urls import is_loopback
from scrape_do_celery.findings import WARNING, Finding
from scrape_do_celery.rules.waits import spell_since
from scrape_do_celery.store.commands.deliveries import DeliveryResult
from scrape_do_celery.store.commands.stats import ReadTotals
from scrape_do_celery.store.webhook_trusts import read_trusts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.config import Settings
    from scrape_do_celery.store import Store

#: Ends of names that only a private network knows.
_PRIVATE_ENDS: Final = (".local", ".localdomain", ".internal", ".intranet", ".lan", ".home.arpa", ".svc", ".test")
#: A probe of `doctor` counts as `gone`.
_GONE, _SILENT = "webhooks:gone", "webhook_parts:silent"
_OF_RUNS: Final = [
    f"webhooks:{one}" for one in DeliveryResult if one not in {DeliveryResult.STALE, DeliveryResult.GONE}
]


def check_webhook_settings(settings: Settings) -> Iterator[Finding]:
    """Find the settings by which Scrape.do cannot reach the receiver, or by which strangers can read deliveries."""
    if settings.webhook_base_url is None:
        return
    if settings.webhook_keys is None:
        yield Finding(
            WARNING,
            "SCRAPE_DO_WEBHOOK_BASE_URL is set and SCRAPE_DO_WEBHOOK_KEYS is not: no run can have webhooks; set it to "
            "the keys of your receiver, or to new ones that you give the receiver too",
        )
    parts = urlsplit(settings.webhook_base_url)
    host = parts.hostname or ""
    private = why_private(host)
    if private and why_private(urlsplit(settings.api_url).hostname or "") is None:
        yield Finding(
            WARNING,
            f"SCRAPE_DO_WEBHOOK_BASE_URL: Scrape.do cannot reach {host}, because it is {private}; set it to the public "
            "URL of your receiver; until then, runs with webhooks end by safety polls",
        )
    elif parts.scheme == "http" and not private:
        yield Finding(
            WARNING,
            f"SCRAPE_DO_WEBHOOK_BASE_URL: deliveries to http://{host} are not encrypted, so that anybody on the way "
            "can read pages; use https://",
        )


def why_private(host: str) -> str | None:
    """Return why the public internet does not reach `host`; None if it may."""
    if is_loopback(host):
        return "this machine"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
        return "a name of a private network" if "." not in name or name.endswith(_PRIVATE_ENDS) else None
    return None if address.is_global else "a private address"


def check_deliveries(store: Store, settings: Settings) -> Iterator[Finding]:
    """Find that deliveries have never come, and accounts whose delivered pages are not believed.

    Raises:
        RedisError: the store did not answer.
    """
    *of_runs, gone, silent = store.run(ReadTotals([*_OF_RUNS, _GONE, _SILENT]))
    if silent and not any(of_runs):
        yield Finding(
            WARNING,
            f"{silent:,.0f} job(s) with webhooks have ended, and no delivery of any job has come, so that runs end by "
            "safety polls: run `scrape-do doctor --webhook`; if it finds nothing, a firewall lets this machine "
            "pass, and not Scrape.do",
        )
    elif settings.webhooks and not any([*of_runs, gone]):
        yield Finding(
            WARNING,
            "SCRAPE_DO_WEBHOOKS is true, and no receiver has taken a delivery into this store yet: run `scrape-do "
            "doctor --webhook`",
        )
    for account, trust in read_trusts(store).items():
        if trust.off_since is not None:
            yield Finding(
                WARNING,
                f"delivered pages of account {account} are not believed{spell_since(trust.off_since)}: {trust.why}; "
                "workers fetch each page from the API. Find out who changed the page (a proxy before the receiver, or "
                f"somebody with SCRAPE_DO_WEBHOOK_KEYS), then run `scrape-do webhook-trust restore {account}`",
            )
