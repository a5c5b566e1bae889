"""Test the checks of `doctor` for the API: its route, its answer, and the refused tokens that workers know."""

from __future__ import annotations

import fakeredis
import pytest
from redis.exceptions import NoPermissionError

from scrape_do_celery import Settings
from scrape_do_celery.api_diagnostics import check_api, check_refusals
from scrape_do_celery.client import ScrapeDoAsyncAPIClient
from scrape_do_celery.errors import APIConnectionError, AsyncAPIServerError
from scrape_do_celery.findings import OK, WARNING, WRONG
from scrape_do_celery.models import UserInformation
from scrape_do_celery.store import Keys, Store
from scrape_do_celery.store.commands.limits import OpenBreaker
from scrape_do_celery.store.token_refusals import read_refusal

SECRET = "a-secret-of-the-user"
PROXY = "http://bob:pass-of-proxy@proxy.example:3128"
GRACE = "runs that still wait fail (SCRAPE_DO_AUTH_GRACE)"


@pytest.fixture
def store():
    return Store(fakeredis.FakeRedis(), Keys("p"))


@pytest.fixture
def settings(clean_environment):
    return Settings(api_key=SECRET)


@pytest.fixture
def answer(monkeypatch):
    """Return a function that sets the answer of the API to the question for the account."""

    def set_answer(found):
        def get_user_info(_):
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(ScrapeDoAsyncAPIClient, "get_user_info", get_user_info)

    return set_answer


def test_an_api_that_answers_and_one_that_does_not(settings, shared_sandbox):
    here = settings.model_copy(update={"api_url": shared_sandbox.url})
    route, found = check_api(here)
    assert route == ("", "requests to the API go directly, without a proxy, and trust the public authorities")
    assert (found.level, "accepts the token" in found.text) == (OK, True)
    _, found = check_api(here.model_copy(update={"api_url": "http://127.0.0.1:1"}))
    assert (found.level, "does not answer" in found.text, SECRET in found.text) == (WRONG, True, False)
    assert not list(check_api(here.model_copy(update={"api_key": None})))


@pytest.mark.parametrize("status", [401, 403])
def test_refused_token_is_one_line_and_not_blamed_on_the_url(settings, store, answer, make, status):
    answer(make.refusal(status))
    _, found = check_api(settings)
    assert found.level == WRONG
    assert found.text.startswith("SCRAPE_DO_API_KEY: the API at ")
    assert "refuses the token, or the account has no credits" in found.text
    store.run(OpenBreaker(settings.account_id, settings.token_id))
    _, found = check_api(settings, read_refusal(store, settings.account_id))
    assert "; runs wait since " in found.text
    assert GRACE in found.text


@pytest.mark.parametrize(
    ("error", "start", "end"),
    [
        (
            APIConnectionError("no answer"),
            "SCRAPE_DO_PROXY: the API at https://q.scrape.do is not reached",
            "to the API",
        ),
        (APIConnectionError("CERTIFICATE_VERIFY_FAILED"), "SCRAPE_DO_API_URL: ", "a PEM file with its authority"),
        (
            AsyncAPIServerError("bad", 502),
            "SCRAPE_DO_API_URL: ",
            "proxy.example:3128 may have answered instead of the API",
        ),
        (AsyncAPIServerError("bad", 502, "error of the API"), "SCRAPE_DO_API_URL: ", "expected: bad"),
    ],
)
def test_a_failure_behind_a_proxy_begins_with_the_setting_at_fault(settings, answer, error, start, end):
    answer(error)
    route, found = check_api(settings.model_copy(update={"proxy": Settings(proxy=PROXY).proxy}))
    assert "through the proxy proxy.example:3128, and" in route.text
    assert found.text.startswith(start)
    assert found.text.endswith(end)
    assert "pass-of-proxy" not in route.text + found.text


def test_a_refusal_that_is_over_is_no_fault(settings, store, answer):
    store.run(OpenBreaker(settings.account_id, settings.token_id))
    answer(UserInformation())
    *_, accepted, found = check_api(settings, read_refusal(store, settings.account_id))
    assert (accepted.level, found.level) == (OK, OK)
    assert "they notice within a minute that it ended" in found.text
    answer(AsyncAPIServerError("bad", 500))
    *_, found = check_api(settings, read_refusal(store, settings.account_id))
    assert (found.level, "the API refuses the token of the account" in found.text) == (WRONG, True)


def test_the_token_that_was_replaced_is_named_while_workers_try_it(settings, store, answer):
    """Give the account a name: both tokens then have one note."""
    named = settings.model_copy(update={"account": "shop"})
    answer(UserInformation())
    store.run(OpenBreaker(named.account_id, "of another token"))
    found = list(check_api(named, read_refusal(store, named.account_id)))
    assert [one.level for one in found] == [WARNING, "", OK]
    assert "start each worker that still has it again with the new one" in found[0].text
    store.client.hset(store.keys.breaker(named.account_id), "next", 1)
    assert [one.level for one in check_api(named, read_refusal(store, named.account_id))] == ["", OK]


def test_the_token_of_another_account_is_named_while_workers_try_it(settings, store):
    store.run(OpenBreaker(settings.account_id, settings.token_id))
    assert list(check_refusals(store, settings)) == []
    store.run(OpenBreaker("old", "of another token"))
    (found,) = check_refusals(store, settings)
    assert (found.level, "(account old)" in found.text, GRACE in found.text) == (WARNING, True, True)
    store.client.hset(store.keys.breaker("old"), "next", 1)
    assert list(check_refusals(store, settings)) == []


def test_a_process_without_a_token_is_told_of_each_refusal_of_its_account(settings, store):
    producer, named = (Settings(account=account) for account in ("", "shop"))
    for account in (settings.account_id, named.account_id):
        store.run(OpenBreaker(account, "of a token"))
    assert [one.level for one in check_refusals(store, producer)] == [WRONG, WRONG]
    (found,) = check_refusals(store, named)
    assert f"refuses the token of the account {named.account_id}: check its credits" in found.text
    assert GRACE in found.text


def test_a_user_that_may_not_search_is_told_so(settings, store, monkeypatch):
    def refuse(**_):
        raise NoPermissionError("no permissions to run the 'scan' command")

    monkeypatch.setattr(store.client, "scan_iter", lambda _: refuse())
    (found,) = check_refusals(store, settings)
    assert (found.level, "allow +scan" in found.text) == (WARNING, True)
