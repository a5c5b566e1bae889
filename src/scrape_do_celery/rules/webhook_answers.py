"""Explain an answer to a delivery that no receiver of this package gives, and what to change. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from scrape_do_celery.rules.webhook_tokens import hide_token

if TYPE_CHECKING:
    from collections.abc import Mapping

_BASE_URL: Final = "SCRAPE_DO_WEBHOOK_BASE_URL"
_LOGIN_WORDS: Final = ("login", "signin", "sign-in", "sso", "oauth", "auth")
_FIREWALL: Final = "a firewall, a login or a bot check stands before the receiver: let POST pass for paths below {path}"
_LIMITS: Final = (
    "raise the limit, such as client_max_body_size of nginx, LimitRequestBody of Apache, MAX_CONTENT_LENGTH of Flask, "
    "or that of your cloud's gateway, to SCRAPE_DO_WEBHOOK_MAX_BYTES"
)
_NO_ROUTE: Final = (
    "no receiver is at {path}: include the URLs of this package at the path of "
    + _BASE_URL
    + ", or correct the setting"
)
_NO_SERVER: Final = "the proxy does not reach the receiver: check that its process runs, and the proxy's address for it"
_ADVICE: Final[Mapping[int, str]] = {
    400: (
        "the server refuses the request, often because of its host: add {host} to ALLOWED_HOSTS of Django, "
        "TRUSTED_HOSTS of Flask, or the TrustedHostMiddleware of FastAPI; the log of the server says why"
    ),
    401: "the server asks for a login: exempt paths below {path} from it",
    403: _FIREWALL,
    404: _NO_ROUTE,
    405: "another view than a receiver answers, or a static site: " + _NO_ROUTE,
    408: "a proxy waited too short for the body: raise its time-out, such as client_body_timeout of nginx",
    410: _NO_ROUTE,
    411: "a proxy takes no body without a length: allow bodies in chunks",
    413: "a proxy or the framework takes no body of this size: " + _LIMITS,
    421: "the server does not serve the host {host}: add it to the server's names and to its certificate",
    429: "something limits the rate of requests: exempt paths below {path}; each task of a job makes a delivery",
    500: "the receiver failed: the log of its server says why",
    502: _NO_SERVER,
    503: _NO_SERVER,
    504: _NO_SERVER,
}


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """An answer to a delivery. The names of headers are in lower case. `text` is the beginning of the body."""

    status: int
    text: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_redirect(self) -> bool:
        """Whether the sender is sent elsewhere. Most senders repeat the request with GET, and without its body."""
        return self.status in {301, 302, 303, 307, 308}


def explain_answer(answer: WebhookAnswer, url: str) -> str:
    """Return what happened to a delivery to `url`, and what to change. `url` may not hold a token."""
    parts = urlsplit(url)
    if answer.is_redirect:
        target = hide_token(urljoin(url, answer.headers.get("location", "")))
        return _explain_redirect(target, url, answer.status)
    if answer.status in {400, 403} and "csrf" in answer.text.lower():
        advice = "a check of CSRF refuses the request: exempt the receiver from it, or include the URLs of this package"
    elif answer.status == 400 and "https port" in answer.text.lower():  # noqa: PLR2004
        advice = f"the port speaks TLS: begin {_BASE_URL} with https://"
    elif answer.status < 300:  # noqa: PLR2004
        advice = (
            f"nothing reached this store: another site or a login page answers, or the receiver has another "
            f"SCRAPE_DO_REDIS_URL or SCRAPE_DO_KEY_PREFIX than this process; check {_BASE_URL} first"
        )
    else:
        advice = _ADVICE.get(answer.status, "the log of the server says why")
    return f"status {answer.status}: {advice.format(host=parts.hostname, path=parts.path.rpartition('/')[0] or '/')}"


def _explain_redirect(target: str, url: str, status: int) -> str:
    before, after = urlsplit(url), urlsplit(target)
    shown = f"{after.scheme}://{after.netloc}{after.path}"
    begin = f"status {status}: a redirect to {shown}, and the body of a POST is lost on the way"
    if any(word in after.path.lower() for word in _LOGIN_WORDS):
        return (
            f"{begin}; that is a login page: exempt the receiver from the login middleware, or from that of the proxy"
        )
    if (after.hostname, after.path) == (before.hostname, before.path):
        if before.scheme == after.scheme:
            return (
                f"{begin}; the framework does not know that the proxy speaks TLS: let the proxy send "
                "X-Forwarded-Proto, and set SECURE_PROXY_SSL_HEADER of Django, or turn its SECURE_SSL_REDIRECT off"
            )
        return f"{begin}; set {_BASE_URL} to the URL with {after.scheme}://"
    if (after.hostname, after.path) == (before.hostname, f"{before.path}/"):
        return (
            f"{begin}; only the path with a slash has a view (APPEND_SLASH of Django, or a rule of the proxy): include "
            "the URLs of this package, which take both, or remove the rule"
        )
    if after.hostname != before.hostname:
        return f"{begin}; set {_BASE_URL} to a URL of {after.hostname}, or exempt the receiver from the redirect"
    return f"{begin}; exempt the receiver from the redirect, or correct the path of {_BASE_URL}"
