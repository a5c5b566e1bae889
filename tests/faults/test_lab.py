"""Test small runs of the fault lab, as `make faults` plays large ones."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from scrape_do_sandbox.faults import FaultRule
from scrape_do_sandbox.pages import parse_page_options
from scrape_do_sandbox.url_writers import WRITERS, write_url
from tests.faults.generator import KILLS_PER_POINT, TrialGenerator
from tests.faults.points import POINTS
from tests.faults.sessions import Session
from tests.faults.trials import with_query

SEED = os.environ.get("FAULTS_SEED", "1")


@pytest.mark.parametrize("trials", [20, pytest.param(100, marks=pytest.mark.long)])
def test_trials_break_no_promise(capsys, trials):
    with capsys.disabled():
        session = Session(SEED, window=25, log=print)
        session.run_all(trials)
    report = session.report
    assert report.passed, report.text()
    assert report.counted >= trials
    assert report.most_purchases == 1
    assert sum(report.kills.values()) >= trials // 4


def test_trials_cover_all_writers_and_differing_targets():
    trials = [TrialGenerator(SEED).plain_trial("kill")[0], *TrialGenerator(SEED).generate(400, "post")]
    assert (trials[0].writer, trials[0].shuffled, trials[0].url_rules()) == ("verbatim", False, [])
    assert {trial.writer for trial in trials} == set(WRITERS)
    assert {trial.shuffled for trial in trials if len(trial.runs[0].targets) > 1} == {True, False}
    targets = [target for trial in trials for target in trial.runs[0].targets]
    forms = {writer: [write_url(target, writer) for target in targets] for writer in WRITERS}
    assert all(trial.host in target for trial in trials for target in trial.runs[0].targets)
    # Below 2,083 characters pydantic writes URLs in WHATWG form.
    assert len({tuple(form) for form in forms.values()}) == len(WRITERS) - 1
    assert any("/app#/p/1" in target for target in targets)


def test_url_rules_of_a_trial_are_sandbox_rules():
    for trial in TrialGenerator(SEED).generate(100, "post"):
        rules = [FaultRule.model_validate(rule) for rule in trial.url_rules()]
        assert [rule.value for rule in rules if rule.action == "job_urls"] == [trial.writer] * (
            trial.writer != "verbatim"
        )
        assert any(rule.action == "job_shuffles" for rule in rules) is trial.shuffled


@pytest.mark.parametrize("target", ["https://a.example/", "https://a.example/?", "https://a.example/#/p/1"])
def test_sandbox_options_fit_into_any_target(target):
    trial, _ = TrialGenerator(SEED).plain_trial("kill")
    trial.runs[0].targets = [target]
    with_query(trial, "seconds=20")
    with_query(trial, "gone=410")
    [asking] = trial.runs[0].targets
    assert (parse_page_options(asking).seconds, parse_page_options(asking).gone) == (20, 410)
    assert asking.partition("#")[1:] == target.partition("#")[1:]


def test_point_that_no_trial_reaches_leaves_trials_for_the_others():
    generator = TrialGenerator(SEED)
    unreachable, *others = POINTS
    aims: Counter[str] = Counter()
    for _ in range(60):
        generator.set_kills(Counter(dict.fromkeys(others, 15)))
        aims.update(trial.planned_faults[0].point for trial in generator.generate(20, "kill"))
    assert aims[unreachable] < aims.total() / 4


def test_resumed_run_kills_at_points_owing_kills():
    generator = TrialGenerator(SEED)
    owed = "poll_jobs: before update_part"
    generator.resume(5_000, Counter(dict.fromkeys(POINTS, KILLS_PER_POINT) | {owed: KILLS_PER_POINT - 3}))
    trials = list(generator.generate(3, "kill"))
    assert [trial.number for trial in trials] == [5_001, 5_002, 5_003]
    assert [trial.planned_faults[0].point for trial in trials] == [owed] * 3
