"""Test that an answer to a delivery is explained by its likely cause, with the setting to change."""

from __future__ import annotations

import pytest

from scrape_do_celery.rules.webhook_answers import WebhookAnswer, explain_answer

URL = "https://shop.example/hooks/r-0-1-***"


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (200, "<form>", ("nothing reached this store", "login page", "SCRAPE_DO_KEY_PREFIX")),
        (400, "", ("ALLOWED_HOSTS", "TRUSTED_HOSTS", "TrustedHostMiddleware", "shop.example")),
        (400, "The CSRF token is missing.", ("CSRF", "exempt")),
        (400, "The plain HTTP request was sent to HTTPS port", ("begin SCRAPE_DO_WEBHOOK_BASE_URL with https://",)),
        (401, "", ("login", "paths below /hooks")),
        (403, "", ("firewall", "/hooks")),
        (403, "CSRF verification failed.", ("CSRF", "exempt")),
        (404, "", ("no receiver is at /hooks",)),
        (405, "", ("another view",)),
        (410, "", ("no receiver is at /hooks",)),
        (413, "", ("client_max_body_size",)),
        (429, "", ("rate",)),
        (500, "", ("log",)),
        (502, "", ("proxy does not reach the receiver",)),
        (418, "", ("the log of the server says why",)),
    ],
)
def test_status_is_explained(status, text, words):
    told = explain_answer(WebhookAnswer(status, text), URL)
    assert told.startswith(f"status {status}: ")
    assert [word for word in words if word not in told] == []
    assert "{" not in told


@pytest.mark.parametrize(
    ("url", "location", "words"),
    [
        (URL, "/accounts/login/?next=/hooks", ("login page", "middleware")),
        (URL, f"{URL.replace('***', 'a' * 64)}/", ("slash", "APPEND_SLASH")),
        (URL, URL, ("X-Forwarded-Proto", "SECURE_PROXY_SSL_HEADER")),
        (URL.replace("https", "http"), URL, ("SCRAPE_DO_WEBHOOK_BASE_URL to the URL with https://",)),
        (URL, URL.replace("shop", "www.shop"), ("to a URL of www.shop.example",)),
        (URL, "/new/place", ("correct the path",)),
        (URL, None, ("SECURE_SSL_REDIRECT",)),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_explained_by_its_target(status, url, location, words):
    headers = {} if location is None else {"location": location}
    told = explain_answer(WebhookAnswer(status, headers=headers), url)
    assert told.startswith(f"status {status}: a redirect to ")
    assert "body of a POST is lost" in told
    assert "aaaa" not in told
    assert [word for word in words if word not in told] == []


def test_path_of_a_receiver_at_the_root_is_named():
    assert "no receiver is at /:" in explain_answer(WebhookAnswer(404), "https://shop.example/r-0-1-***")
