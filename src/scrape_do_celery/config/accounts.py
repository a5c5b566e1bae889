"""The fingerprints of a Scrape.do account, by which applications with one account recognize each other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scrape_do_celery.config.settings import Settings


def account_fingerprints(settings: Settings) -> frozenset[str]:
    """Return the fingerprints of the token and of the account's name. One in common proves one account.

    An application that names the account and an application that does not have the token in common. The API is part
    of a fingerprint, because a sandbox takes any token. No fingerprint reveals a token.
    """
    known = {"name": settings.account}
    if settings.api_key is not None:
        known["token"] = settings.api_key.get_secret_value()
    return frozenset(
        hashlib.blake2b(f"{settings.api_url} {kind} {text}".encode(), key=b"scrape-do", digest_size=12).hexdigest()
        for kind, text in known.items()
        if text
    )
