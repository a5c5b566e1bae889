"""The types of the settings of webhooks, with their checks and their meaning."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

from scrape_do_celery.config import secrets
from scrape_do_celery.config.urls import http_url, is_loopback
from scrape_do_celery.models.urls_refused import why_no_target

_BASE_URL, _KEYS = "SCRAPE_DO_WEBHOOK_BASE_URL", "SCRAPE_DO_WEBHOOK_KEYS"
#: Characters of the base URL, at most: servers refuse URLs of more than about 2,000 characters.
_LONGEST_URL: Final = 1_000


def find_missing(base_url: str | None, keys: SecretStr | None) -> str:
    """Return the names of the settings that a purchase with a webhook needs, and that are not set."""
    return " and ".join(name for name, value in ((_BASE_URL, base_url), (_KEYS, keys)) if value is None)


def _check_base_url(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(http_url(url) or "")
    if "?" in url or "@" in parts.netloc:
        raise ValueError("should have no query and no user: each webhook adds a path of its own, and signs it")
    if fault := why_no_target(url):
        raise ValueError(fault)
    if len(url) > _LONGEST_URL:
        raise ValueError(f"should have at most {_LONGEST_URL:,} characters")
    return url.rstrip("/")


def _check_default(is_on: bool, info: ValidationInfo) -> bool:
    missing = find_missing(info.data.get("webhook_base_url", ""), info.data.get("webhook_keys", SecretStr("")))
    if is_on and missing:
        raise ValueError(f"needs {missing}; set both where runs are started and in workers")
    return is_on


def _check_trust(trust: str, info: ValidationInfo) -> str:
    """Refuse to believe bodies that anybody on the way could have changed."""
    base_url = info.data.get("webhook_base_url", "https://wrong.invalid")
    if trust == "hint" or (base_url or "").lower().startswith("https://"):
        return trust
    if base_url is None:
        raise ValueError(f"content needs {_BASE_URL}, which shows whether deliveries are encrypted")
    if not is_loopback(urlsplit(base_url).hostname or ""):
        raise ValueError(f"content needs an https:// URL in {_BASE_URL}, because a delivery over http can be forged")
    return trust


BaseUrl = Annotated[
    str | None,
    AfterValidator(_check_base_url),
    Field(
        description="Public URL of your receiver of webhooks, such as `https://shop.example/hooks`. Scrape.do calls a "
        "path below it. Set it where runs are started, in workers, and in receivers."
    ),
]
Keys = Annotated[
    SecretStr | None,
    BeforeValidator(secrets.keys_text),
    AfterValidator(secrets.check_webhook_keys),
    Field(
        description="Keys that sign webhooks: each at least 32 random characters, as `openssl rand -hex 32` prints "
        "them, separated by commas. The first key signs, all keys verify. Receivers need them too."
    ),
]
Default = Annotated[
    bool,
    AfterValidator(_check_default),
    Field(description="Whether Scrape.do calls your receiver for runs that set neither `webhook` nor `webhook_url`."),
]
Trust = Annotated[
    Literal["hint", "content"],
    AfterValidator(_check_trust),
    Field(
        description="Use of a delivery: `hint` makes its task due for fetching; `content` stores its page, if the base "
        "URL is https or this machine. Set it in receivers."
    ),
]
PollMax = Annotated[
    float,
    Field(
        ge=1,
        description="The longest time between two polls of a job with webhooks. If all deliveries are lost, the run "
        "ends at most this time after its job.",
    ),
]
MaxBytes = Annotated[
    int,
    Field(
        ge=65_536,
        le=1_073_741_824,
        description="The largest body of a delivery, in bytes after decompression. A larger one makes a hint. "
        "If `SCRAPE_DO_MAX_PAGE_BYTES` is smaller, that limit holds. Set both in receivers.",
    ),
]
