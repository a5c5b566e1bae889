"""Read the trust in delivered pages of all accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.store.commands.stats import ReadAccounts
from scrape_do_celery.store.commands.webhook_trust import ReadWebhookTrust

if TYPE_CHECKING:
    from scrape_do_celery.store.client import Store
    from scrape_do_celery.store.commands.webhook_trust import WebhookTrust


def read_trusts(store: Store) -> dict[str, WebhookTrust]:
    """Return the trust in delivered pages of each account for which jobs were, or are, bought.

    Raises:
        RedisError: the store did not answer.
    """
    accounts = store.run(ReadAccounts())
    return dict(zip(accounts, store.run_all([ReadWebhookTrust(one) for one in accounts]), strict=True))
