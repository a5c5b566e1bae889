from __future__ import annotations

import inspect

import pytest

from scrape_do_celery import client
from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient, ScrapeDoAsyncAPIClient

METHODS = [
    "cancel_job", "create_job", "get_job", "get_task", "get_user_info", "iter_jobs", "list_jobs",
    "submit_and_wait", "wait_for_job",
]  # fmt: skip


def shape(function):
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


def public(cls):
    return sorted(name for name in dir(cls) if not name.startswith("_"))


def test_both_have_the_same_methods():
    assert public(ScrapeDoAsyncAPIClient) == sorted([*METHODS, "close"])
    assert public(AsyncScrapeDoAsyncAPIClient) == sorted([*METHODS, "aclose"])


@pytest.mark.parametrize("name", METHODS)
def test_signatures_and_words_are_equal(name):
    blocking, other = getattr(ScrapeDoAsyncAPIClient, name), getattr(AsyncScrapeDoAsyncAPIClient, name)
    assert shape(blocking) == shape(other)
    assert blocking.__doc__ == other.__doc__


def test_constructors_differ_only_in_sleep_and_worker_hook():
    blocking, other = shape(ScrapeDoAsyncAPIClient), shape(AsyncScrapeDoAsyncAPIClient)
    assert other.pop()[0] == "large_page"
    assert [one[0] for one in blocking] == [one[0] for one in other]
    assert [one[0] for one, two in zip(blocking, other, strict=True) if one != two] == ["sleep"]


def test_public_names():
    assert client.__all__ == sorted(client.__all__, key=lambda name: (name.islower(), name))
    assert all(hasattr(client, name) for name in client.__all__)
