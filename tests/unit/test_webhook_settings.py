"""Test the settings of webhooks: what they take, what they refuse, and that no key is ever shown."""

from __future__ import annotations

import pickle
import traceback

import pytest

from scrape_do_celery.config import Settings, SettingsError, secrets
from scrape_do_celery.config.webhook_settings import find_missing

KEY, NEXT = "0123456789abcdef" * 2, "fedcba9876543210" * 4
BASE = "https://shop.example/hooks"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("BASE_URL", "KEYS", "TRUST", "POLL_MAX", "MAX_BYTES"):
        monkeypatch.delenv(f"SCRAPE_DO_WEBHOOK_{name}", raising=False)
    monkeypatch.delenv("SCRAPE_DO_WEBHOOKS", raising=False)


def problems(**values):
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    return caught.value.problems


def test_webhooks_are_off_by_default():
    settings = Settings()
    assert (settings.webhook_base_url, settings.webhook_keys, settings.webhooks) == (None, None, False)
    assert (settings.webhook_trust, settings.webhook_poll_max, settings.webhook_max_bytes) == ("hint", 300.0, 2**24)
    assert secrets.signing_keys(settings.webhook_keys) == ()


def test_environment_sets_webhooks(monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_WEBHOOK_BASE_URL", f"{BASE}/")
    monkeypatch.setenv("SCRAPE_DO_WEBHOOK_KEYS", f"{KEY}, {NEXT}")
    monkeypatch.setenv("SCRAPE_DO_WEBHOOKS", "true")
    monkeypatch.setenv("SCRAPE_DO_WEBHOOK_TRUST", "content")
    settings = Settings()
    assert (settings.webhook_base_url, settings.webhooks, settings.webhook_trust) == (BASE, True, "content")
    assert secrets.signing_keys(settings.webhook_keys) == (KEY.encode(), NEXT.encode())


@pytest.mark.parametrize("keys", [[KEY, NEXT], (KEY, NEXT), f"{KEY},{NEXT}", f" {KEY} {NEXT}\n"])
def test_keys_are_a_list_or_a_text(keys):
    assert secrets.signing_keys(Settings(webhook_keys=keys).webhook_keys) == (KEY.encode(), NEXT.encode())


def test_blank_keys_are_no_keys():
    assert Settings(webhook_keys=" \n").webhook_keys is None


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:8000", "http://10.0.0.1/hooks", "https://shop.example:8443/a/b", "https://[::1]/h"]
)
def test_base_url_may_have_port_and_path(base_url):
    assert Settings(webhook_base_url=f"{base_url}/").webhook_base_url == base_url


@pytest.mark.parametrize(
    ("base_url", "said"),
    [
        ("", "http:// or https:// URL with a host"),
        ("shop.example/hooks", "http:// or https:// URL with a host"),
        ("ftp://shop.example", "http:// or https:// URL with a host"),
        ("https://", "with a host"),
        ("https://shop.example/?a=1", "no query"),
        ("https://shop.example/?", "no query"),
        ("https://me:sesame@shop.example/", "no user"),
        ("https://shop.example/#a", "not a valid URL"),
        ("https://shop.example:0/", "port"),
        ("https://shop.example:99999/", "not a valid URL"),
        ("https://shop .example/", "not a valid URL"),
        (f"https://shop.example/{'a' * 1000}", "at most 1,000 characters"),
    ],
)
def test_bad_base_url(base_url, said):
    found = problems(webhook_base_url=base_url)
    assert list(found) == ["SCRAPE_DO_WEBHOOK_BASE_URL"]
    assert said in found["SCRAPE_DO_WEBHOOK_BASE_URL"]
    assert "sesame" not in str(found)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (KEY[:-1], "at least 32 random ASCII characters"),
        ("x" * 64, "at least 32 random ASCII characters"),
        (f"{KEY},{NEXT[:9]}", "at least 32 random ASCII characters"),
        (f"{KEY}ü", "at least 32 random ASCII characters"),
        (f"{KEY}\udcff", "valid string"),
        (f"{KEY},{KEY}", "contains a key twice"),
    ],
)
def test_bad_keys_are_not_shown(keys, said):
    with pytest.raises(SettingsError, match=f"SCRAPE_DO_WEBHOOK_KEYS: .*{said}") as caught:
        Settings(webhook_keys=keys)
    shown = "".join(traceback.format_exception(caught.value))
    assert not {KEY, NEXT, KEY[:9], NEXT[:9]}.intersection(shown.replace(",", " ").split())
    assert KEY[:9] not in str(caught.value.args)


def test_good_keys_are_not_shown():
    settings = Settings(webhook_base_url=BASE, webhook_keys=[KEY, NEXT])
    for text in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert KEY[:9] not in text
        assert NEXT[:9] not in text
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "SCRAPE_DO_WEBHOOK_BASE_URL and SCRAPE_DO_WEBHOOK_KEYS"),
        ({"webhook_base_url": BASE}, "SCRAPE_DO_WEBHOOK_KEYS"),
        ({"webhook_keys": KEY}, "SCRAPE_DO_WEBHOOK_BASE_URL"),
    ],
)
def test_webhooks_for_all_runs_need_url_and_keys(given, missing):
    text = "set both where runs are started and in workers"
    assert problems(webhooks=True, **given) == {"SCRAPE_DO_WEBHOOKS": f"needs {missing}; {text}"}
    assert find_missing(Settings(**given).webhook_base_url, Settings(**given).webhook_keys) == missing
    assert Settings(webhooks=False, **given).webhooks is False


def test_wrong_keys_are_not_called_missing():
    assert list(problems(webhooks=True, webhook_base_url=BASE, webhook_keys="short")) == ["SCRAPE_DO_WEBHOOK_KEYS"]


@pytest.mark.parametrize(
    ("base_url", "said"),
    [
        ("http://shop.example/hooks", "https://"),
        ("http://10.0.0.1/hooks", "https://"),
        ("http://localhost.example/", "https://"),
        (None, "content needs SCRAPE_DO_WEBHOOK_BASE_URL"),
    ],
)
def test_bodies_that_anybody_can_forge_are_not_trusted(base_url, said):
    found = problems(webhook_base_url=base_url, webhook_keys=KEY, webhook_trust="content")
    assert list(found) == ["SCRAPE_DO_WEBHOOK_TRUST"]
    assert said in found["SCRAPE_DO_WEBHOOK_TRUST"]
    assert Settings(webhook_base_url=base_url, webhook_keys=KEY).webhook_trust == "hint"


@pytest.mark.parametrize(
    "base_url", [BASE, "HTTPS://shop.example", "http://127.0.0.1:8000/a", "http://localhost", "http://[::1]"]
)
def test_bodies_over_tls_or_from_this_machine_can_be_trusted(base_url):
    assert Settings(webhook_base_url=base_url, webhook_trust="content").webhook_trust == "content"


def test_wrong_base_url_is_the_only_problem():
    assert list(problems(webhook_base_url="x", webhook_trust="content")) == ["SCRAPE_DO_WEBHOOK_BASE_URL"]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("webhook_poll_max", 0.5),
        ("webhook_max_bytes", 65_535),
        ("webhook_max_bytes", 2**30 + 1),
        ("webhook_trust", "all"),
    ],
)
def test_out_of_bounds(name, bad):
    assert list(problems(**{name: bad})) == [f"SCRAPE_DO_{name.upper()}"]
