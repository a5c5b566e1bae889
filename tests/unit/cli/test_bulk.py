"""Test that `cancel`, `retry` and `forget` act on the chosen runs after a question, and tell how to carry on."""

from __future__ import annotations

import json
import shlex

import pytest
from click.testing import CliRunner

from scrape_do_celery import StoreUnavailableError, list_runs
from scrape_do_celery.cli import bulk as cli_bulk
from scrape_do_celery.cli import main
from scrape_do_celery.cli.progress import LineView
from scrape_do_celery.runs import AppContext, RunHandle, bulk
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, RecordOutcome
from tests.support.json_shapes import check_json


@pytest.fixture
def scrape_do(step_harness, monkeypatch):
    """Return a function that calls a command in a pipe, or on a terminal with an answer."""
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)

    def call(*arguments, answer=None):
        with monkeypatch.context() as patch:
            patch.setattr("scrape_do_celery.cli.filters.has_terminal", lambda: answer is not None)
            found = CliRunner().invoke(main, list(map(str, arguments)), prog_name="scrape-do", input=answer)
        check_json(arguments, found)
        return found

    return call


@pytest.fixture
def ended(start_run, step_harness, make):
    """Return a function that makes an ended run, whose second target has no page. Without `end`, it has no outcome."""

    def make_ended(outcome="succeeded", *, end=True, missing=1, **options):
        run_id = start_run(make.urls(2), **{"tags": ["shop:7"], **options}).run_id
        step_harness.make_running(run_id, state=PartState.FETCHING)
        claim, job_id = step_harness.claim_part(run_id), f"job-{run_id}-0"
        step_harness.run(UpdatePart(claim, {}, job=make.job("success", job_id=job_id)))
        first = {"status": "error", "content": None} if missing == 2 else {}
        step_harness.store_content(run_id, position=0, job=job_id, **first)
        step_harness.store_content(run_id, position=1, job=job_id, status="error", content=None)
        step_harness.run(FinishPart(claim, outcome))
        if end:
            step_harness.run(RecordOutcome(run_id, outcome, {}))
            step_harness.run(AcknowledgeDelivery(run_id, run_id, step_harness.app_context.retention))
        return run_id

    return make_ended


def facts(text):
    """Return the printed names and values. Names that repeat have a list."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition("  ")
        found.setdefault(name, []).append(value.strip())
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def test_cost_is_shown_and_asked_for(scrape_do, ended, start_run, step_harness):
    runs = [ended() for _ in range(3)]
    live = start_run(["https://other.example/"], tags=["shop:7"]).run_id
    before = step_harness.run_ids()
    refused = scrape_do("retry", "--tag", "shop:7", answer="n\n")
    assert refused.exit_code == 1
    assert "Retry 3 runs? [y/N]" in refused.stderr
    plan = facts(refused.stderr.partition("Retry 3")[0])
    assert (plan["to retry"], plan["tasks to buy"]) == ("3 runs", "3")
    assert plan["cost"].startswith("3 credits expected, 3 at least")
    assert plan["left alone"] == f"1 live: the run has not ended ({live})"
    assert step_harness.run_ids() == before
    bought = scrape_do("retry", "--tag", "shop:7", "--max-credits", 7, answer="y\n")
    assert bought.exit_code == 0
    assert facts(bought.stdout) == {
        "retried": "3 runs",
        "tasks to buy": "3",
        "left alone": plan["left alone"],
        "until": facts(bought.stderr.partition("Retry 3")[0])["until"],
    }
    assert [len(RunHandle(run_id).lineage) for run_id in runs] == [2] * 3


def test_runs_that_begin_before_the_answer_are_left_alone(scrape_do, start_run, step_harness, monkeypatch):
    first = start_run(["https://a.example/"], tags=["shop:7"])
    later = []
    monkeypatch.setattr(
        cli_bulk.click,
        "confirm",
        lambda *_, **__: later.append(start_run(["https://b.example/"], tags=["shop:7"])) or True,
    )
    answer = scrape_do("cancel", "--tag", "shop:7", answer="")
    assert facts(answer.stdout)["canceled"] == "1 run"
    assert [step_harness.read_run(one.run_id).stop_reason for one in (first, *later)] == ["cancel", None]


def test_dry_run_changes_nothing_and_needs_no_answer(scrape_do, ended, start_run, step_harness):
    ended()
    start_run(["https://other.example/"], tags=["shop:7"])
    before = step_harness.dump_keys()
    shown = {}
    for command in ("cancel", "retry", "forget"):
        answer = scrape_do(command, "--tag", "shop:7", "--dry-run")
        assert (answer.exit_code, answer.stderr) == (0, "")
        shown[command] = facts(answer.stdout)
        found = json.loads(scrape_do(command, "--tag", "shop:7", "--dry-run", "--json").stdout)
        assert (found["runs"], found["estimate"] is None, found["failed"]) == (1, False, [])
    assert step_harness.dump_keys() == before
    assert (shown["cancel"]["to cancel"], shown["forget"]["to forget"], shown["forget"]["pages to delete"]) == (
        "1 run",
        "1 run",
        "1",
    )


def test_json_has_the_report(scrape_do, ended):
    run_id = ended()
    answer = scrape_do("forget", "--state", "ended", "--yes", "--json")
    report = json.loads(answer.stdout)
    assert (report["runs"], report["pages"], report["estimate"], report["cursor"]) == (1, 1, None, None)
    assert facts(answer.stderr)["pages to delete"] == "1"
    assert list_runs().runs == ()
    assert scrape_do("status", run_id).exit_code == 1


def test_failed_runs_set_the_exit_code(scrape_do, ended, step_harness):
    run_id = ended()
    answer = scrape_do("retry", "--tag", "shop:7", "--max-credits", 0.5, "--yes", "--json")
    # The plan has found that the budget refuses the only run.
    assert (answer.exit_code, json.loads(answer.stdout)["failed"][0]["reason"]) == (1, "BudgetExceededError")
    assert step_harness.run_ids() == {run_id}


def test_run_that_the_count_has_refused_is_still_told_beside_others(scrape_do, ended, start_run, step_harness):
    ended()
    large = ended(missing=2)
    answer = scrape_do("retry", "--tag", "shop:7", "--max-credits", 1, "--yes", "--json")
    report = json.loads(answer.stdout)
    assert (answer.exit_code, report["runs"], report["skipped"]) == (1, 1, [])
    assert [(one["reason"], one["run_ids"]) for one in report["failed"]] == [("BudgetExceededError", [large])]


def test_no_run_is_no_question(scrape_do):
    answer = scrape_do("forget", "--tag", "nobody", answer="")
    assert (answer.exit_code, facts(answer.stdout)["forgotten"]) == (0, "0 runs")
    assert "?" not in answer.stderr


@pytest.mark.parametrize("command", ["cancel", "retry", "forget"])
def test_command_says_which_runs_it_means(scrape_do, ended, step_harness, command):
    run_id = ended()
    before = step_harness.dump_keys()
    for arguments, named in (
        ((), "name a RUN_ID, filters (--state, --label, --tag or --since), or --all: one of them is needed"),
        (("--until", "1h"), "one of them is needed"),
        (("--all", "--tag", "shop:7"), "not both --all and a filter"),
        ((run_id, "--tag", "shop:7"), "RUN_ID names one run: leave out the options"),
        ((run_id, "--until", "1h"), "RUN_ID names one run: leave out the options"),
        ((run_id, "--all"), "RUN_ID names one run"),
        ((run_id, "--dry-run"), "RUN_ID names one run"),
        (("--tag", "shop:7"), f"if stdin is not a terminal, {command} needs --yes"),
        (("--tag", "a b", "--yes"), "a tag must have"),
        (("--tag", "shop:7", "--limit", "0", "--yes"), "0 is not in the range"),
    ):
        answer = scrape_do(command, *arguments)
        assert (answer.exit_code, answer.stdout) == (2, ""), arguments
        assert named in " ".join(answer.stderr.split())
    assert step_harness.dump_keys() == before


@pytest.mark.parametrize("fault", [KeyboardInterrupt, StoreUnavailableError])
def test_interruption_tells_how_to_carry_on(scrape_do, ended, step_harness, monkeypatch, fault):
    monkeypatch.setattr(bulk, "_PAGE", 2)
    runs = [ended(label="prices of shop 7") for _ in range(5)][::-1]
    real = bulk.BulkCall._act

    def act(call, draft):
        if not call.dry_run and draft.run_id == runs[3]:
            raise fault("no answer")
        return real(call, draft)

    arguments = ("retry", "--label", "prices of shop 7", "--max-credits", 9, "--yes")
    with monkeypatch.context() as patch:
        patch.setattr(bulk.BulkCall, "_act", act)
        stopped = scrape_do(*arguments)
    assert stopped.exit_code == (130 if fault is KeyboardInterrupt else 1)
    assert "Interrupted after 3 runs. To carry on with the others:\n" in stopped.stderr
    (line,) = (line for line in stopped.stderr.splitlines() if line.startswith("scrape-do retry"))
    words = shlex.split(line)
    assert words[2] == "--max-credits=9.0"
    assert words[3] == "--label=prices of shop 7"
    again = scrape_do(*words[1:], "--yes", "--json")
    report = json.loads(again.stdout)
    assert (report["runs"], report["skipped"]) == (2, [])
    assert [len(RunHandle(run_id).lineage) for run_id in runs] == [2] * 5


def test_limit_is_carried_on_after_an_interruption(scrape_do, ended, monkeypatch):
    """The command that carries on must reach all runs of the limit, also if those before stay in the list."""
    runs = [ended() for _ in range(5)][::-1]
    real = bulk.BulkCall._act

    def act(call, draft):
        if not call.dry_run and draft.run_id == runs[2]:
            raise KeyboardInterrupt
        return real(call, draft)

    with monkeypatch.context() as patch:
        patch.setattr(bulk.BulkCall, "_act", act)
        stopped = scrape_do("retry", "--tag", "shop:7", "--limit", 4, "--yes")
    (line,) = (line for line in stopped.stderr.splitlines() if line.startswith("scrape-do retry"))
    assert scrape_do(*shlex.split(line)[1:], "--yes").exit_code == 0
    assert [len(RunHandle(run_id).lineage) for run_id in runs] == [2, 2, 2, 2, 1]


def test_interruption_after_the_last_run_of_a_limit_asks_for_nothing_more(scrape_do, ended, monkeypatch):
    for _ in range(2):
        ended()
    real = bulk.BulkCall.iter_reports

    def iter_reports(call):
        yield from real(call)
        if not call.dry_run:
            raise KeyboardInterrupt

    monkeypatch.setattr(bulk.BulkCall, "iter_reports", iter_reports)
    stopped = scrape_do("retry", "--tag", "shop:7", "--limit", 1, "--yes")
    assert (stopped.exit_code, stopped.stderr.splitlines()[-1]) == (130, "Interrupted after 1 runs. None is left.")


@pytest.mark.parametrize("command", ["forget", "retry"])
def test_run_that_ends_after_the_count_is_left_alone(scrape_do, ended, step_harness, monkeypatch, command):
    """The count said that the live run is left alone. Its pages, and its cost, were part of no answer."""
    counted = ended()
    live = ended(end=False)
    act = cli_bulk._Work.carry_out

    def carry_out(work, *args):
        report = act(work, *args)
        if work.call.dry_run:
            step_harness.run(RecordOutcome(live, "succeeded", {}))
        return report

    monkeypatch.setattr(cli_bulk._Work, "carry_out", carry_out)
    report = json.loads(scrape_do(command, "--tag", "shop:7", "--yes", "--json").stdout)
    assert report["runs"] == 1
    assert [(one["reason"], one["run_ids"]) for one in report["skipped"]] == [("uncounted", [live])]
    assert live in step_harness.run_ids()
    assert RunHandle(live).lineage == (live,)
    assert counted not in step_harness.run_ids() or len(RunHandle(counted).lineage) == 2


def test_interruption_of_the_count_leaves_nothing_behind(scrape_do, ended, monkeypatch):
    ended()

    def act(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bulk.BulkCall, "_act", act)
    answer = scrape_do("forget", "--tag", "shop:7", "--yes")
    assert (answer.exit_code, answer.stderr.strip()) == (130, "Interrupted. Nothing was changed.")


def test_error_of_the_count_is_no_interruption(scrape_do, ended, monkeypatch):
    ended()

    def act(*_):
        raise ValueError("webhook=True needs keys")

    monkeypatch.setattr(bulk.BulkCall, "_act", act)
    answer = scrape_do("retry", "--tag", "shop:7", "--dry-run")
    assert (answer.exit_code, answer.stderr.strip()) == (2, "Error: webhook=True needs keys")


def test_limit_is_carried_on_by_the_cursor(scrape_do, ended):
    for _ in range(3):
        ended()
    first = facts(scrape_do("forget", "--tag", "shop:7", "--limit", 2, "--yes").stdout)
    options = ("--until", first["until"], "--cursor", first["cursor"])
    second = facts(scrape_do("forget", "--tag", "shop:7", *options, "--yes").stdout)
    assert (first["forgotten"], second["forgotten"], "cursor" in second) == ("2 runs", "1 run", False)


def test_progress_counts_runs(scrape_do, ended, monkeypatch):
    monkeypatch.setattr(cli_bulk, "choose_view", LineView)
    ended()
    answer = scrape_do("forget", "--tag", "shop:7", "--yes")
    assert "1 runs, counted" in answer.stderr
    assert "1 of 1 runs, forgotten" in answer.stderr


def test_one_run_is_forgotten_after_a_question(scrape_do, ended, step_harness, start_run):
    run_id, live = ended(), start_run(["https://other.example/"]).run_id
    assert scrape_do("forget", run_id).exit_code == 2
    refused = scrape_do("forget", run_id, answer="n\n")
    assert refused.exit_code == 1
    assert f"run {run_id} (succeeded) is deleted; stored pages: 1" in refused.stderr
    assert json.loads(scrape_do("forget", run_id, "--yes", "--json").stdout) == {"run_id": run_id, "pages": 1}
    assert step_harness.run_ids() == {live}
    for unknown in (run_id, live):
        assert scrape_do("forget", unknown, "--yes").exit_code == 1
    assert step_harness.run_ids() == {live}
    assert scrape_do("forget", ended(), answer="y\n").stdout == "forgotten\n"
