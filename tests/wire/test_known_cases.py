"""Test the known odd answers for which the lab was made."""

from __future__ import annotations

from functools import partial

import pytest

from tests.wire.messages import MutableResponse
from tests.wire.oracle import find_broken_metas
from tests.wire.scenarios import SCENARIOS, Scenario, run_scenario
from tests.wire.server import Account
from tests.wire.writers import WRITERS, WRITTEN, written_by

#: Answers that are slightly odd.
ODD = (
    "plain/job/Status/upper case/ever",
    "plain/job/Status/title case/ever",
    "plain/job/Status/space around/ever",
    "plain/task/Status/title case/ever",
    "plain/job/Tasks[*].Status/upper case/ever",
    "plain/create/Message/number/ever",
    "plain/job/AcquiredConcurrency/as text/ever",
    "plain/job/LimitConcurrency/word/ever",
    "plain/job/Canceled/as text: yes/ever",
    "plain/job/StartTime/epoch seconds/ever",
    "plain/job/EndTime/RFC 1123/ever",
    "plain/task/StatusCode/with a unit/ever",
    "plain/task/ResponseHeaders/pairs/ever",
    "plain/task/Scrape.do/pairs/ever",
    "plain/task/ExpiresAt/ten days later/ever",
    "plain/task/TraceID/in an object/ever",
    "plain/job/TaskIDs/first missing/ever",
    "plain/create/TaskIDs/first missing/ever",
    "plain/job/TaskIDs/first twice/ever",
    "plain/create/TaskIDs/each twice/ever",
    "plain/task/HTTP frame/header of 9 kB/ever",
    "list/list/TotalPages/word/ever",
)


def _ended_well(observed):
    __tracebackhide__ = True
    told = f"{observed.state}: {observed.error}, bought {observed.bought}"
    assert (observed.state, observed.bought) == ("succeeded", 1), told
    assert observed.verified
    assert observed.in_order


@pytest.mark.parametrize("name", ODD)
def test_an_answer_that_is_slightly_odd_costs_nothing(run_mutation, name):
    result = run_mutation(name)
    assert not result.violations
    assert result.outcome.startswith("all pages"), result.detail
    assert result.bought == 1


def test_pages_of_hash_routes_stand_under_their_targets(environment):
    _ended_well(
        run_scenario(environment, SCENARIOS["plain"], targets=[f"https://app.example/#/p/{n}" for n in range(1, 9)])
    )


@pytest.mark.parametrize(
    "written", ["https://xn--fa-hia.example/", "https://fa%C3%9F.example/", "https://faß.example/"]
)
def test_hosts_that_one_standard_folds_keep_their_pages(environment, written):
    account = Account(environment.now, write_url=lambda url: written if url == "https://faß.example/" else url)
    targets = ["https://faß.example/", "https://fass.example/"]
    _ended_well(run_scenario(environment, SCENARIOS["plain"], targets=targets, account=account))


@pytest.mark.parametrize("is_trusting", [False, True], ids=["proven metas only", "metas by position"])
def test_targets_that_the_server_writes_alike_have_no_meta(environment, monkeypatch, is_trusting):
    """If the order is not proven, a `meta` by position stands beside another page. The lab must see that."""
    account = Account(environment.now, write_url=lambda url: "https://fass.example/" if "/fa" in url else url)
    if is_trusting:
        monkeypatch.setattr("scrape_do_celery.runs.entries.PlacedPart.is_proven", lambda *_: True)
    targets = ["https://faß.example/", "https://fass.example/"]
    observed = run_scenario(environment, SCENARIOS["plain"], targets=targets, account=account)
    assert (observed.state, observed.verified) == ("succeeded", False)
    assert find_broken_metas(observed) == (["meta of another page"] if is_trusting else [])
    assert is_trusting or [task.meta for task in observed.tasks] == [None, None]


@pytest.mark.parametrize("scenario", ["lost", "lost, full list"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_job_is_recognised_whoever_writes_its_urls(environment, writer, scenario):
    for target in WRITTEN:
        account = Account(environment.now, write_url=partial(written_by, writer))
        observed = run_scenario(environment, SCENARIOS[scenario], targets=[target], account=account)
        assert (observed.state, observed.bought) == ("succeeded", 1), (target, observed.error)
    account = Account(environment.now, write_url=partial(written_by, writer))
    _ended_well(run_scenario(environment, SCENARIOS[scenario], targets=list(WRITTEN), account=account))


def test_a_plugin_s_lost_purchase_ends_in_doubt_and_is_not_made_again(environment):
    """The tasks of a plugin show no parameters, so a job of the account may be this one or another."""
    observed = run_scenario(environment, Scenario("lost plugin", seconds=300.0, lost=True, plugin=True))
    assert (observed.state, observed.bought) == ("in_doubt", 1), observed.error
    assert "SubmitInDoubtError" in observed.error


def test_a_task_that_shouts_its_success_is_no_failed_one(environment):
    def shout(response):
        if response.request.kind == "task":
            response.data["Status"] = response.data["Status"].upper()
        return True

    observed = run_scenario(environment, SCENARIOS["plain"], shout)
    _ended_well(observed)
    assert [task.gone for task in observed.tasks] == [False] * 3


@pytest.mark.parametrize("status", [400, 402, 405, 407, 413, 421, 431, 451])
def test_one_minute_of_firewall_loses_no_page(environment, status):
    since = []

    def refuse(request):
        if request.kind != "task":
            return None
        since.append(environment.now())
        if environment.now() - since[0] > 66:
            return None
        response = MutableResponse(request, status, None, body=b"<html><h1>Blocked</h1></html>")
        response.headers[0] = ("Content-Type", "text/html")
        return response

    # Polls follow each other as fast as in the field, where a last poll came a minute after the others.
    fast = {"poll_initial_interval": 0.5, "poll_multiplier": 1.0, "poll_max_interval": 0.5}
    _ended_well(run_scenario(environment, Scenario("firewall", seconds=2.0), refuse=refuse, **fast))


@pytest.mark.parametrize("body", [b"<html>nothing here</html>", b"{}", b'{"message": "no Route matched"}', b""])
def test_two_minutes_of_a_gateways_own_404_lose_no_run(environment, body):
    bought = []

    def refuse(request):
        if request.kind == "create":
            bought.append(environment.now())
            return None
        if not 70 < environment.now() - bought[0] < 190:
            return None
        return MutableResponse(request, 404, None, body=body)

    # Poll often enough to meet the gateway's page many times.
    scenario = Scenario("gateway", seconds=300.0)
    _ended_well(run_scenario(environment, scenario, refuse=refuse, poll_multiplier=1.5, poll_max_interval=10.0))
