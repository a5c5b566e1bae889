"""Check the names on docs/how-to/from-scrape-do-python.md against both packages."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import httpx
import pytest
import scrape_do.async_api as peer
from scrape_do.async_api.client import AsyncAPIEventHooks
from scrape_do.async_api.models import parameters

import scrape_do_celery
from scrape_do_celery import JobCreationRequest, ScrapeDoAsyncAPIClient
from scrape_do_celery.client.job_filters import JobFilters

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "from-scrape-do-python.md").read_text()
NAMES = PAGE.partition("## Names")[2].partition("##")[0]
CLASS = re.compile(r"\b(?:[A-Z][a-z]+){2,}\w*")


@pytest.fixture
def client():
    with ScrapeDoAsyncAPIClient("token", base_url="http://127.0.0.1:9", max_retries=0) as client:
        yield client


def test_each_class_on_the_page_exists():
    rows = [row.split(" | ") for row in NAMES.splitlines() if row.startswith("| `")]
    assert len(rows) == 21
    for left, right in ((row[0], row[1]) for row in rows):
        assert [name for name in CLASS.findall(left) if not hasattr(peer, name) and not hasattr(parameters, name)] == []
        assert [name for name in CLASS.findall(right) if not hasattr(scrape_do_celery, name)] == []


def test_filters_of_the_job_list_have_the_peers_names():
    assert parameters.JobListQueryParameters.model_fields.keys() == JobFilters.__annotations__.keys()


def test_each_hook_of_the_peer_is_on_the_page(client):
    assert {"request", "response", "retry", "poll"} == AsyncAPIEventHooks.__annotations__.keys()
    for name in AsyncAPIEventHooks.__annotations__:
        assert f'event_hooks={{"{name}": [...]}}' in NAMES
    for name in ("on_response", "transport", "strategy"):
        assert name in inspect.signature(type(client)).parameters


def test_a_jobs_own_timeout_is_a_field_of_its_request(client):
    assert "timeout" in parameters.JobCreationRequestDict.__annotations__
    with pytest.raises(ValueError, match="a job's own timeout, in milliseconds, belongs in its JobCreationRequest"):
        client.create_job(targets=["https://a.example/"], timeout=60_000)
    assert JobCreationRequest(targets=["https://a.example/"], timeout=60_000).to_wire()["Timeout"] == 60_000


def test_a_transport_and_on_response_see_each_call():
    requests, answers = [], []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request.method)
        return httpx.Response(200, json={"JobID": "j", "TaskIDs": [], "Status": "success"})

    transport, seen = httpx.MockTransport(answer), lambda status, _: answers.append(status)
    with ScrapeDoAsyncAPIClient("token", transport=transport, on_response=seen) as client:
        client.get_job("j")
    assert (requests, answers) == (["GET"], [200])
