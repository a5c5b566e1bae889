"""Test that a run of a plugin is retried only where the answers show their parameter sets."""

from __future__ import annotations

import json

import pytest

from scrape_do_celery import RunError
from scrape_do_celery.models import GoogleSearch, JobCreationRequest, SearchParams
from scrape_do_celery.runs import retry_failed
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome
from scrape_do_celery.store.options import RunSpec

WORDS = ["a", "b", "c"]
NO_BASE64 = "%%"


@pytest.fixture(autouse=True)
def _own_app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)


@pytest.fixture
def end_run(step_harness, make):
    """Return a function that makes an ended run. `answers` has a page, or None for a failed task, by job order."""

    def end(answers, *, words=WORDS, tasks=None, bought=True, **fields):
        sets = [SearchParams(q=word, gl="us", extra={"udm": 50}) for word in words]
        step_harness.run(CreateRun("r", RunSpec(JobCreationRequest(plugin=GoogleSearch(sets), super=True), **fields)))
        if bought:
            step_harness.make_running(state=PartState.FETCHING)
            claim = step_harness.claim_part()
            step_harness.run(UpdatePart(claim, {}, job=make.job("success", count=tasks or len(words), summary=False)))
            for position, page in enumerate(answers):
                status = "error" if page is None else "success"
                content = page if isinstance(page, str) else json.dumps(page)
                page_fields = {"content": page and content, "base64_encoded_content": page == NO_BASE64}
                step_harness.store_content(position=position, status=status, url="", **page_fields)
            step_harness.run(FinishPart(claim, "succeeded"))
        else:
            step_harness.finish_part(outcome="failed")
        step_harness.run(RecordOutcome("r", "succeeded", {}))
        step_harness.step_messages()

    return end


@pytest.fixture
def retried(step_harness):
    """Return a function that retries the run, and returns the request of the new run."""

    def retry(**options):
        return step_harness.run(ReadSpec(retry_failed("r", **options).run_id, 1))

    return retry


def echo(word):
    return {"search_parameters": {"q": word, "gl": "us", "hl": "en"}, "organic_results": []}


def words_of(spec):
    return [one["q"] for one in spec.request.plugin.params]


def test_sets_without_an_answer_are_bought_again_with_the_same_options(end_run, retried):
    end_run([echo("c"), None, echo("a")], raise_on_task_failure=True)
    spec = retried()
    assert spec.request.to_wire() == {
        "Plugin": {"Key": "google/search", "Params": [{"q": "b", "gl": "us", "udm": 50}]},
        "Super": True,
    }
    assert spec.raise_on_task_failure
    assert retry_failed("r").run_id == retry_failed("r").run_id


@pytest.mark.parametrize("bought", [True, False])
def test_all_sets_are_bought_again_if_none_has_an_answer(end_run, retried, bought):
    end_run([None] * 3, bought=bought)
    assert words_of(retried()) == WORDS


def test_one_set_needs_no_proof(end_run, retried):
    end_run([None], words=["a"])
    assert words_of(retried()) == ["a"]


@pytest.mark.parametrize("page", ["<html>", {"organic_results": []}])
def test_nothing_is_bought_again_if_each_set_has_an_answer(end_run, step_harness, page):
    end_run([page] * 3)
    with pytest.raises(RunError, match="has an answer for each target"):
        retry_failed("r")
    assert step_harness.step_messages() == []


UNPROVEN = {
    "no echo": [{"organic_results": []}, None, None],
    "no json": ["<html>", None, None],
    "no base64": [NO_BASE64, None, None],
    "one echo of two": [echo("a"), {"organic_results": []}, None],
    "two answers of one set": [echo("a"), echo("a"), None],
}


@pytest.mark.parametrize("answers", UNPROVEN.values(), ids=UNPROVEN)
def test_sets_that_no_answer_shows_are_not_bought_again(end_run, step_harness, answers):
    end_run(answers)
    with pytest.raises(RunError, match=r"google/search.* do not show which parameter sets failed.*trust_order=True"):
        retry_failed("r")
    assert step_harness.step_messages() == []


def test_an_answer_that_contradicts_the_order_is_believed_more_than_the_caller(end_run, step_harness):
    end_run(UNPROVEN["two answers of one set"])
    with pytest.raises(RunError, match="do not show which parameter sets failed"):
        retry_failed("r", trust_order=True)
    assert step_harness.step_messages() == []


@pytest.mark.parametrize("answers", list(UNPROVEN.values())[:-1], ids=list(UNPROVEN)[:-1])
def test_the_caller_may_trust_the_order_of_the_job(end_run, retried, answers):
    end_run(answers)
    assert words_of(retried(trust_order=True)) == [
        word for word, page in zip(WORDS, answers, strict=True) if page is None
    ]


def test_a_proof_counts_more_than_the_order(end_run, retried):
    end_run([echo("c"), None, None])
    assert words_of(retried(trust_order=True)) == ["a", "b"]


@pytest.mark.parametrize("trust_order", [True, False])
def test_a_job_with_another_number_of_tasks_is_never_matched(end_run, step_harness, trust_order):
    end_run([echo("a"), None], tasks=2)
    with pytest.raises(RunError, match="do not show which parameter sets failed"):
        retry_failed("r", trust_order=trust_order)
    assert step_harness.step_messages() == []


def test_another_number_of_tasks_needs_no_match_if_none_has_an_answer(end_run, retried):
    end_run([None, None], tasks=2)
    assert words_of(retried()) == WORDS


@pytest.mark.parametrize(("answers", "again"), [([echo("a"), None], ["b"]), ([echo("b"), None], ["a", "a"])])
def test_equal_sets_that_were_bought_once_are_bought_once_again(end_run, retried, answers, again):
    end_run(answers, words=["a", "b", "a"], tasks=2, dedupe=True)
    spec = retried()
    assert words_of(spec) == sorted(set(again))
    assert spec.input_count == len(again)
    assert [one["q"] for one in spec.given_inputs()["plugin"]["params"]] == again
