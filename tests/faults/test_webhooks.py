"""Test the webhooks of the fault lab: the faults of deliveries, the forger, and that a believed forgery is detected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scrape_do_celery.rules.webhook_tokens import HEADER, PurchaseId, make_secret, make_url
from scrape_do_celery.webhooks.core import FORBIDDEN, Answer, Receiver
from scrape_do_sandbox.faults import FaultRule
from tests.faults.forger import KINDS, Forger
from tests.faults.generator import TrialGenerator
from tests.faults.mutants import ATTEMPTS
from tests.faults.points import POINTS
from tests.faults.receivers import KEY, TRUSTS
from tests.faults.scenarios import SCENARIOS
from tests.faults.sessions import Session
from tests.faults.webhook_points import WEBHOOK_POINTS, list_points
from tests.faults.webhooks import FORGED, add_webhooks

KEYS = (KEY.encode(),)
POOLS = ("threads:4", "prefork:2")


def job_of(number):
    purchase = PurchaseId(f"0f0e0d0c-1111-4222-8333-44445555666{number}", 0, 1)
    return {
        "job_id": f"job-{number}",
        "task_ids": [f"task-{number}"],
        "targets": [f"https://a.example/{number}"],
        "webhook_url": make_url("https://shop.example/hooks", KEYS[0], purchase),
    }


@pytest.mark.parametrize("trust", TRUSTS)
def test_faults_of_deliveries_are_rules_of_the_sandbox(trust):
    rules = [rule for trial in TrialGenerator("webhooks").generate(300, "post") for rule in add_webhooks(trial, trust)]
    assert all(FaultRule.model_validate(rule).is_for(rule["kind"]) for rule in rules)
    actions = {rule["action"] for rule in rules}
    assert {"webhook_lose", "webhook_early", "cut", "mutate"} < actions
    # A page that the API itself sends cannot be told from the right one.
    assert ("webhook_other_content" in actions) is (trust == "hint")


def test_trials_have_webhooks_if_their_points_need_them_and_none_if_their_points_need_other_polls():
    generator = TrialGenerator("webhooks", webhooks="content")
    have = []
    for trial in generator.generate(500, "kill"):
        add_webhooks(trial, "content")
        points = {plan.point for plan in trial.planned_faults}
        have.append(all(run.options.get("webhook") for run in trial.runs))
        assert have[-1] or not any(run.options.get("webhook") for run in trial.runs)
        if points & set(WEBHOOK_POINTS):
            assert have[-1]
        elif trial.scenario == "early" or any("poll_job_list" in point for point in points):
            assert not have[-1]
    assert {True, False} == set(have)


@pytest.mark.parametrize("trust", TRUSTS)
def test_page_that_the_api_loses_may_have_been_delivered_before(trust):
    runs = []
    for trial in TrialGenerator("webhooks").generate(20, "gone"):
        add_webhooks(trial, trust)
        runs += trial.runs
    assert {len(run.counts) for run in runs if run.options.get("webhook")} == {2 if trust == "content" else 1}
    assert all([one["gone"] for one in run.counts] == [1, 0][: len(run.counts)] for run in runs)
    assert all(one["total"] == one["succeeded"] + one["failed"] for run in runs for one in run.counts)


def test_points_of_webhooks_are_aimed_at_in_such_a_lab_only():
    def aims(webhooks):
        trials = TrialGenerator("webhooks", webhooks=webhooks).generate(800, "kill")
        return {plan.point for trial in trials for plan in trial.planned_faults}

    assert aims("content") >= set(WEBHOOK_POINTS)
    assert not aims("") & set(WEBHOOK_POINTS)
    assert set(WEBHOOK_POINTS.values()) <= set(SCENARIOS)
    assert not set(WEBHOOK_POINTS) & set(POINTS)
    assert set(list_points("hint")) < set(list_points("content"))


@pytest.mark.parametrize("kind", KINDS)
def test_no_forged_delivery_has_a_page(kind):
    forger = Forger("", Path())
    url, headers, body = forger._make_delivery(kind, job_of(1), job_of(2))
    judged = Receiver(KEYS, trusts_content=True).judge_call(
        "POST", url.removeprefix("https://shop.example"), headers.items()
    )
    if kind == "wrong URL":
        assert judged == FORBIDDEN
        return
    assert not isinstance(judged, Answer)
    judged.take_chunk(body)
    assert judged.finish().page is None
    assert FORGED.encode() in body or "Content-Encoding" in headers


def test_forged_body_would_be_believed_with_the_right_secret():
    """The forger proves something only if its bodies lack nothing but the secret."""
    job = job_of(1)
    url, _, body = Forger("", Path())._make_delivery("no header", job, job_of(2))
    secret = make_secret(KEYS[0], PurchaseId("0f0e0d0c-1111-4222-8333-444455556661", 0, 1))
    judged = Receiver(KEYS, trusts_content=True).judge_call(
        "POST", url.removeprefix("https://shop.example"), [(HEADER, secret)]
    )
    judged.take_chunk(body)
    found = judged.finish()
    assert FORGED in found.page.content
    assert (found.job_id, found.task_id) == (job["job_id"], job["task_ids"][0])


def play(mutant, count, *, faults):
    session = Session("webhooks", pools=POOLS, mutant=mutant, webhooks="content")
    generator = TrialGenerator("webhooks")
    trials = [generator.plain_trial("post")[0] for _ in range(count)]
    for trial in trials:
        trial.counts_by = "nothing"
        # Deliveries come late enough for the forger to be the first.
        trial.runs[0].targets[:] = [f"https://{trial.host}/{index}?seconds=1.5" for index in range(2)]
        trial.runs[0].succeeded = 2
    with session.harness() as harness:
        session.run_round(harness, trials if not faults else generator.generate(count), window=count)
        return session.report, json.loads((harness.folder / "forgeries.json").read_text())


@pytest.mark.long
def test_no_forged_content_can_be_read():
    report, forged = play("", 8, faults=True)
    assert report.passed, report.text()
    assert report.events["webhooks accepted"] > 0
    assert report.events["kills of receivers"] > 0
    assert sum(forged.values()) > 20
    assert {kind for kind in forged if kind.startswith("wrong URL")} <= {"wrong URL: 403", "wrong URL: no answer"}


@pytest.mark.long
def test_without_the_check_of_the_secret_the_lab_turns_red():
    for _ in range(ATTEMPTS):
        report, _ = play("secret", 3, faults=False)
        if report.problems["forged contents"]:
            return
    pytest.fail(report.text())
